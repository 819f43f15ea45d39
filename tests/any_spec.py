"""Any spec that is right, for hypothesis."""

from hypothesis import strategies as st

from imagegen_contract.image_model import Gpu, ImageModelSpec, Inference
from imagegen_contract.workload import Cache, Rollout, SecretKeyRef

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40) | st.sampled_from(
    ["$(HOME)", "$$(HOME)", "costs $5, or $(5)", "a, b", '"quoted"', "two\nlines", " spaces ", "画 🎨", "\\$(A)"]
)
SOURCES = st.none() | st.sampled_from(
    ["hf://acme/one", "file:///models/a b", "builtin://shapes", "pvc://models", "pvc://models/sdxl/$(one)"]
)
INFERENCE = st.builds(
    Inference,
    steps=st.integers(1, 100),
    guidance_scale=st.floats(0, 30),
    size=st.sampled_from([None, "512x512", "1024x768"]),
    sizes=st.lists(st.sampled_from(["512x512", "64x64"]), max_size=3).map(tuple),
    scheduler=st.sampled_from([None, "euler", "lcm"]),
    negative_prompt=WORDS,
    prompt_suffix=WORDS,
    safety_checker=st.booleans(),
)
CACHES = st.builds(
    Cache,
    size=st.sampled_from(["1Gi", "1024Mi", "2Gi", 3221225472]),
    access_mode=st.just("ReadWriteMany"),
    storage_class_name=st.sampled_from([None, "fast", "slow"]),
    reclaim_policy=st.sampled_from(["Delete", "Retain"]),
) | st.just(Cache(claim_name="models"))
SPECS = st.builds(
    ImageModelSpec,
    publisher=WORDS.filter(bool),
    family=st.just("sdxl"),
    version=st.sampled_from(["1.0", "true", "1e3"]),
    id=st.sampled_from(["one", "acme/one", "A.b_c-d/1"]),
    aliases=st.sampled_from([(), ("uno", "eins")]),
    description=WORDS,
    license=WORDS,
    source=SOURCES,
    revision=WORDS,
    config=st.none() | st.just("hf://acme/base"),
    inference=INFERENCE,
    replicas=st.integers(0, 3),
    gpu=st.builds(Gpu, count=st.integers(0, 2)),
    cache=st.none() | CACHES,
    rollout=st.builds(Rollout, drain_seconds=st.integers(1, 3600), load_timeout_seconds=st.integers(60, 86400)),
    hub_token_secret_ref=st.none() | st.just(SecretKeyRef(name="hub")),
)
