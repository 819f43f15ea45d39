"""ImageModels that are refused, each with all that the API server (of Kubernetes 1.36) says: field, then rule."""

from image_model_corpus import CREATED, Json, inference, pod, spec

_ID = "Allowed: one or two names of letters, digits, . _ - with a / between, such as acme/one"
_SOURCE = "Allowed: hf://owner/name, file:///path, builtin://name or, in Kubernetes, pvc://claim/path"
_SIDES = "Allowed: sides in multiples of 8 from 64 to 8192"
_OBJECT = "Allowed: the name of a Kubernetes object: a-z, 0-9, - and ."
_QUANTITY = "Allowed: a quantity of Kubernetes, such as 500m, 2 or 16Gi"
_SAMPLERS = (
    'supported values: "ddim", "dpmpp_2m", "dpmpp_2m_karras", "euler", "euler_a", "heun", "lcm", "pndm", "unipc"'
)
_GPU = "Allowed: an extended resource, such as nvidia.com/gpu or nvidia.com/mig-1g.5gb"
_ONE_CLAIM = "needs one of claimName (an existing claim) and size (a claim to create)"
_ONE_POD = "Allowed: at most 1 with a claim that serves one pod; several need cache.accessMode ReadWriteMany"
_UNKNOWN = 'ImageModel in version "v1alpha1" cannot be handled as a ImageModel: strict decoding error: unknown field'
_RESOURCES = "Allowed keys: cpu, memory, ephemeral-storage, hugepages-SIZE or an extended resource with its domain"
_LABEL_KEYS = "Allowed keys: the key of a label: letters, digits, - _ . with a domain and / before it or not"
_LABEL_VALUE = "Allowed: the value of a label: up to 63 letters, digits, - _ . or nothing"
_TAINT_KEY = "Allowed: the key of a taint: letters, digits, - _ . with a domain and / before it or not"

BAD: dict[str, tuple[Json, list[str]]] = {
    "no publisher": (
        spec(publisher=None),
        ["spec.publisher: Required value"],
    ),
    "no id and no version": (
        spec(id=None, version=None),
        ["spec.version: Required value", "spec.id: Required value"],
    ),
    "an empty publisher": (
        spec(publisher=""),
        ['spec.publisher: Invalid value: "": spec.publisher in body should be at least 1 chars long'],
    ),
    "a family that is too long": (
        spec(family="x" * 64),
        ["spec.family: Too long: may not be more than 63 bytes"],
    ),
    "a version that is a number": (
        spec(version=1.0),
        ['spec.version: Invalid value: "number": spec.version in body must be of type string: "number"'],
    ),
    "an empty id": (
        spec(id=""),
        [f'spec.id: Invalid value: "": {_ID}'],
    ),
    "an id with a space": (
        spec(id="acme/one two"),
        [f'spec.id: Invalid value: "acme/one two": {_ID}'],
    ),
    "an id of three parts": (
        spec(id="acme/one/two"),
        [f'spec.id: Invalid value: "acme/one/two": {_ID}'],
    ),
    "an id that begins with a dot": (
        spec(id="acme/.one"),
        [f'spec.id: Invalid value: "acme/.one": {_ID}'],
    ),
    "an id with a newline at its end": (
        spec(id="acme/one\n"),
        [f'spec.id: Invalid value: "acme/one\\n": {_ID}'],
    ),
    "an id that is too long": (
        spec(id="a" * 129),
        ["spec.id: Too long: may not be more than 128 bytes"],
    ),
    "an alias with a space": (
        spec(aliases=["one", "the one"]),
        [f'spec.aliases[1]: Invalid value: "the one": {_ID}'],
    ),
    "an alias twice": (
        spec(aliases=["one", "two", "one"]),
        ['spec.aliases[2]: Duplicate value: "one"'],
    ),
    "an alias that is the id": (
        spec(aliases=["one", "acme/one"]),
        ["spec.aliases: Invalid value: aliases must not hold the id itself"],
    ),
    "too many aliases": (
        spec(aliases=[f"alias-{n}" for n in range(17)]),
        ["spec.aliases: Too many: 17: must have at most 16 items"],
    ),
    "an alias that is no text": (
        spec(aliases=[1]),
        [('spec.aliases[0]: Invalid value: "integer": spec.aliases[0] in body must be of type string: "integer"')],
    ),
    "a description that is too long": (
        spec(description="x" * 1001),
        ["spec.description: Too long: may not be more than 1000 bytes"],
    ),
    "a licence that is too long": (
        spec(license="x" * 201),
        ["spec.license: Too long: may not be more than 200 bytes"],
    ),
    "a revision that is too long": (
        spec(revision="x" * 201),
        ["spec.revision: Too long: may not be more than 200 bytes"],
    ),
    "a source without a scheme": (
        spec(source="acme/one"),
        [f'spec.source: Invalid value: "acme/one": {_SOURCE}'],
    ),
    "a source of a scheme that is reserved": (
        spec(source="s3://bucket/one"),
        [f'spec.source: Invalid value: "s3://bucket/one": {_SOURCE}'],
    ),
    "a source of another scheme that is reserved": (
        spec(source="oci://registry/one"),
        [f'spec.source: Invalid value: "oci://registry/one": {_SOURCE}'],
    ),
    "a source that is a link": (
        spec(source="https://huggingface.co/acme/one"),
        [f'spec.source: Invalid value: "https://huggingface.co/acme/one": {_SOURCE}'],
    ),
    "a source without a place": (
        spec(source="hf://"),
        [f'spec.source: Invalid value: "hf://": {_SOURCE}'],
    ),
    "a volume without a name": (
        spec(source="pvc:///one"),
        [f'spec.source: Invalid value: "pvc:///one": {_SOURCE}'],
    ),
    "a volume with a name that is none": (
        spec(source="pvc://Models/one"),
        [f'spec.source: Invalid value: "pvc://Models/one": {_SOURCE}'],
    ),
    "a folder that leads out of the volume": (
        spec(source="pvc://models/../one"),
        [f'spec.source: Invalid value: "pvc://models/../one": {_SOURCE}'],
    ),
    "a folder with nothing between slashes": (
        spec(source="pvc://models//one"),
        [f'spec.source: Invalid value: "pvc://models//one": {_SOURCE}'],
    ),
    "a source with a newline at its end": (
        spec(source="hf://acme/one\n"),
        [f'spec.source: Invalid value: "hf://acme/one\\n": {_SOURCE}'],
    ),
    "a configuration on a volume": (
        spec(config="pvc://models/base"),
        ['spec.config: Invalid value: "pvc://models/base": Allowed: hf://owner/name or file:///path'],
    ),
    "no steps": (
        inference(steps=0),
        [("spec.inference.steps: Invalid value: 0: spec.inference.steps in body should be greater than or equal to 1")],
    ),
    "more steps than there are noise levels": (
        inference(steps=1000, maxSteps=1000),
        [
            (
                "spec.inference.maxSteps: Invalid value: 1000: "
                "spec.inference.maxSteps in body should be less than or equal to 999"
            ),
            (
                "spec.inference.steps: Invalid value: 1000: "
                "spec.inference.steps in body should be less than or equal to 999"
            ),
        ],
    ),
    "half a step": (
        inference(steps=7.5),
        [
            (
                "spec.inference.steps: "
                'Invalid value: "float64": spec.inference.steps in body must be of type int32: "float64"'
            )
        ],
    ),
    "steps as text": (
        inference(steps="30"),
        [
            (
                "spec.inference.steps: "
                'Invalid value: "string": spec.inference.steps in body must be of type integer: "string"'
            )
        ],
    ),
    "more steps than a request may ask for": (
        inference(steps=5, maxSteps=4),
        ["spec.inference.steps: Invalid value: Allowed: at most maxSteps"],
    ),
    "more steps than a request may ask for by default": (
        inference(steps=101),
        ["spec.inference.steps: Invalid value: Allowed: at most maxSteps"],
    ),
    "a quality with more steps than a request may ask for": (
        inference(maxSteps=50, quality={"low": 1, "medium": 10, "high": 51}),
        ["spec.inference.quality: Invalid value: Allowed: steps of at most maxSteps"],
    ),
    "a quality with two of three": (
        inference(quality={"low": 1, "medium": 10}),
        ["spec.inference.quality.high: Required value"],
    ),
    "a quality without steps": (
        inference(quality={"low": 0, "medium": 10, "high": 20}),
        [
            (
                "spec.inference.quality.low: Invalid value: 0: "
                "spec.inference.quality.low in body should be greater than or equal to 1"
            )
        ],
    ),
    "negative guidance": (
        inference(guidanceScale=-1),
        [
            (
                "spec.inference.guidanceScale: Invalid value: -1: "
                "spec.inference.guidanceScale in body should be greater than or equal to 0"
            )
        ],
    ),
    "guidance beyond all sense": (
        inference(maxGuidanceScale=51),
        [
            (
                "spec.inference.maxGuidanceScale: Invalid value: 51: "
                "spec.inference.maxGuidanceScale in body should be less than or equal to 50"
            )
        ],
    ),
    "more guidance than a request may ask for": (
        inference(guidanceScale=9, maxGuidanceScale=8),
        ["spec.inference.guidanceScale: Invalid value: Allowed: at most maxGuidanceScale"],
    ),
    "a sampler that there is not": (
        inference(scheduler="dimm"),
        [f'spec.inference.scheduler: Unsupported value: "dimm": {_SAMPLERS}'],
    ),
    "samplers that there are not": (
        inference(schedulers=["ddim", "dimm"]),
        [f'spec.inference.schedulers[1]: Unsupported value: "dimm": {_SAMPLERS}'],
    ),
    "a sampler that is not among those allowed": (
        inference(scheduler="ddim", schedulers=["euler"]),
        ["spec.inference.scheduler: Invalid value: Allowed: one of schedulers"],
    ),
    "a size that is one number": (
        inference(size="512"),
        ['spec.inference.size: Invalid value: "512": Allowed: WIDTHxHEIGHT in pixels'],
    ),
    "a size with a capital X": (
        inference(size="512X512"),
        ['spec.inference.size: Invalid value: "512X512": Allowed: WIDTHxHEIGHT in pixels'],
    ),
    "a size with a space": (
        inference(sizes=["512x512", "512 x 512"]),
        ['spec.inference.sizes[1]: Invalid value: "512 x 512": Allowed: WIDTHxHEIGHT in pixels'],
    ),
    "a size with a newline at its end": (
        inference(size="512x512\n"),
        ['spec.inference.size: Invalid value: "512x512\\n": Allowed: WIDTHxHEIGHT in pixels'],
    ),
    "a size that is no multiple of 8": (
        inference(size="513x512"),
        [f"spec.inference.size: Invalid value: {_SIDES}"],
    ),
    "a size that is too small": (
        inference(size="56x512"),
        [f"spec.inference.size: Invalid value: {_SIDES}"],
    ),
    "a size that is too large": (
        inference(size="512x8200"),
        [f"spec.inference.size: Invalid value: {_SIDES}"],
    ),
    "sizes of which one is no multiple of 8": (
        inference(sizes=["512x512", "100x100"]),
        [f"spec.inference.sizes: Invalid value: {_SIDES}"],
    ),
    "a size above the largest area": (
        inference(size="512x520", maxPixels=262144),
        ["spec.inference.size: Invalid value: Allowed: an area of at most maxPixels"],
    ),
    "sizes of which one is above the largest area": (
        inference(sizes=["512x512", "512x520"], maxPixels=262144),
        ["spec.inference.sizes: Invalid value: Allowed: an area of at most maxPixels"],
    ),
    "an area that no picture fits into": (
        inference(maxPixels=4095),
        [
            (
                "spec.inference.maxPixels: Invalid value: 4095: "
                "spec.inference.maxPixels in body should be greater than or equal to 4096"
            )
        ],
    ),
    "an area above that of the largest picture": (
        inference(maxPixels=67108865),
        [
            (
                "spec.inference.maxPixels: Invalid value: 67108865: "
                "spec.inference.maxPixels in body should be less than or equal to 67108864"
            )
        ],
    ),
    "too many sizes": (
        inference(sizes=["512x512"] * 33),
        ["spec.inference.sizes: Too many: 33: must have at most 32 items"],
    ),
    "a negative prompt that is too long": (
        inference(negativePrompt="x" * 4001),
        ["spec.inference.negativePrompt: Too long: may not be more than 4000 bytes"],
    ),
    "a suffix that is too long": (
        inference(promptSuffix="x" * 1001),
        ["spec.inference.promptSuffix: Too long: may not be more than 1000 bytes"],
    ),
    "a safety checker that is text": (
        inference(safetyChecker="no"),
        [
            (
                "spec.inference.safetyChecker: "
                'Invalid value: "string": spec.inference.safetyChecker in body must be of type boolean: "string"'
            )
        ],
    ),
    "fewer pods than none": (
        spec(replicas=-1),
        [
            "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
            ".spec.replicas: Invalid value: -1: should be a non-negative integer",
        ],
    ),
    "too many pods": (
        spec(replicas=1001),
        [("spec.replicas: Invalid value: 1001: spec.replicas in body should be less than or equal to 1000")],
    ),
    "fewer GPUs than none": (
        spec(gpu={"count": -1}),
        [("spec.gpu.count: Invalid value: -1: spec.gpu.count in body should be greater than or equal to 0")],
    ),
    "too many GPUs": (
        spec(gpu={"count": 17}),
        ["spec.gpu.count: Invalid value: 17: spec.gpu.count in body should be less than or equal to 16"],
    ),
    "a GPU without a domain": (
        spec(gpu={"resourceName": "gpu"}),
        [f'spec.gpu.resourceName: Invalid value: "gpu": {_GPU}'],
    ),
    "a GPU of two domains": (
        spec(gpu={"resourceName": "nvidia.com/mig/1g"}),
        [f'spec.gpu.resourceName: Invalid value: "nvidia.com/mig/1g": {_GPU}'],
    ),
    "a cache without a claim": (
        spec(cache={}),
        [f"spec.cache: Invalid value: {_ONE_CLAIM}"],
    ),
    "a cache with an access mode alone": (
        spec(cache={"accessMode": "ReadWriteMany"}),
        [f"spec.cache: Invalid value: {_ONE_CLAIM}"],
    ),
    "a cache with two claims": (
        spec(cache={"claimName": "models", "size": "10Gi"}),
        [f"spec.cache: Invalid value: {_ONE_CLAIM}"],
    ),
    "a claim with a name that is none": (
        spec(cache={"claimName": "Models"}),
        [f'spec.cache.claimName: Invalid value: "Models": {_OBJECT}'],
    ),
    "a claim with a name of two dots": (
        spec(cache={"claimName": "a..b"}),
        [f'spec.cache.claimName: Invalid value: "a..b": {_OBJECT}'],
    ),
    "a class for a claim that is there": (
        spec(cache={"claimName": "models", "storageClassName": "fast"}),
        [("spec.cache.storageClassName: Invalid value: is for a claim to create; leave it out beside claimName")],
    ),
    "a claim of no size": (
        spec(cache={"size": 0}),
        ["spec.cache.size: Invalid value: Allowed: above 0"],
    ),
    "a claim of no size in words": (
        spec(cache={"size": "0Gi"}),
        ["spec.cache.size: Invalid value: Allowed: above 0"],
    ),
    "a claim of a negative size": (
        spec(cache={"size": -1}),
        [("spec.cache.size: Invalid value: -1: spec.cache.size in body should be greater than or equal to 0")],
    ),
    "a claim of a size that is none": (
        spec(cache={"size": "10 GB"}),
        [f'spec.cache.size: Invalid value: "10 GB": {_QUANTITY}'],
    ),
    "a claim of a size with a newline at its end": (
        spec(cache={"size": "10Gi\n"}),
        [f'spec.cache.size: Invalid value: "10Gi\\n": {_QUANTITY}'],
    ),
    "an access mode that cannot be written": (
        spec(cache={"size": "10Gi", "accessMode": "ReadOnlyMany"}),
        [
            (
                'spec.cache.accessMode: Unsupported value: "ReadOnlyMany": supported values: '
                '"ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'
            )
        ],
    ),
    "a reclaim policy that there is not": (
        spec(cache={"size": "10Gi", "reclaimPolicy": "Recycle"}),
        ['spec.cache.reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'],
    ),
    "a claim for one pod and two pods": (
        spec(cache=CREATED, replicas=2),
        [f"spec.replicas: Invalid value: {_ONE_POD}"],
    ),
    "a claim for one pod and a pod more during a rollout": (
        spec(cache=CREATED, rollout={"maxSurge": 1}),
        [
            (
                "spec.rollout.maxSurge: Invalid value: Allowed: "
                "0 with a claim that serves one pod; another pod needs cache.accessMode ReadWriteMany"
            )
        ],
    ),
    "a claim for one pod and two pods by name": (
        spec(cache={"size": "10Gi", "accessMode": "ReadWriteOncePod"}, replicas=2),
        [f"spec.replicas: Invalid value: {_ONE_POD}"],
    ),
    "a rollout that takes pods away": (
        spec(rollout={"maxSurge": -1}),
        [
            (
                "spec.rollout.maxSurge: Invalid value: -1: "
                "spec.rollout.maxSurge in body should be greater than or equal to 0"
            )
        ],
    ),
    "no time to drain": (
        spec(rollout={"drainSeconds": 0}),
        [
            (
                "spec.rollout.drainSeconds: Invalid value: 0: "
                "spec.rollout.drainSeconds in body should be greater than or equal to 1"
            )
        ],
    ),
    "too little time to load": (
        spec(rollout={"loadTimeoutSeconds": 59}),
        [
            (
                "spec.rollout.loadTimeoutSeconds: Invalid value: 59: "
                "spec.rollout.loadTimeoutSeconds in body should be greater than or equal to 60"
            )
        ],
    ),
    "a token without a Secret": (
        spec(hubTokenSecretRef={}),
        ["spec.hubTokenSecretRef.name: Required value"],
    ),
    "a token of a Secret with a name that is none": (
        spec(hubTokenSecretRef={"name": "hub_token"}),
        [f'spec.hubTokenSecretRef.name: Invalid value: "hub_token": {_OBJECT}'],
    ),
    "a token of a key that leads out": (
        spec(hubTokenSecretRef={"name": "hub", "key": "../token"}),
        [('spec.hubTokenSecretRef.key: Invalid value: "../token": Allowed: a key of a Secret: letters, digits, - _ .')],
    ),
    "no image": (
        pod(image=""),
        ['spec.pod.image: Invalid value: "": Allowed: an image reference, which has no spaces'],
    ),
    "an image with a space": (
        pod(image="imagegen server"),
        [('spec.pod.image: Invalid value: "imagegen server": Allowed: an image reference, which has no spaces')],
    ),
    "the GPU among the resources": (
        pod(resources={"limits": {"nvidia.com/gpu": 1}}),
        [("spec.pod.resources: Invalid value: must not name the GPU's resource; GPUs are asked for by gpu.count")],
    ),
    "another GPU among the resources": (
        spec(gpu={"resourceName": "amd.com/gpu"}, pod={"resources": {"requests": {"amd.com/gpu": 1}}}),
        [("spec.pod.resources: Invalid value: must not name the GPU's resource; GPUs are asked for by gpu.count")],
    ),
    "a resource that there is not": (
        pod(resources={"requests": {"mem": "1Gi"}}),
        [f"spec.pod.resources.requests: Invalid value: {_RESOURCES}"],
    ),
    "a quantity that is none": (
        pod(resources={"limits": {"memory": "lots"}}),
        [f'spec.pod.resources.limits[memory]: Invalid value: "lots": {_QUANTITY}'],
    ),
    "a negative quantity": (
        pod(resources={"limits": {"cpu": -1}}),
        [
            (
                "spec.pod.resources.limits.cpu: Invalid value: -1: "
                "spec.pod.resources.limits.cpu in body should be greater than or equal to 0"
            )
        ],
    ),
    "a variable without a name": (
        pod(env=[{"value": "x"}]),
        ["spec.pod.env[0].name: Required value"],
    ),
    "a variable with a dash": (
        pod(env=[{"name": "MY-VARIABLE", "value": "x"}]),
        [
            (
                'spec.pod.env[0].name: Invalid value: "MY-VARIABLE": Allowed: the name of a variable: '
                "letters, digits and _, no digit first"
            )
        ],
    ),
    "a variable twice": (
        pod(env=[{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]),
        ['spec.pod.env[1]: Duplicate value: {"name":"A"}'],
    ),
    "a label with a space": (
        pod(nodeSelector={"my label": "x"}),
        [f"spec.pod.nodeSelector: Invalid value: {_LABEL_KEYS}"],
    ),
    "a label with a value with a space": (
        pod(nodeSelector={"zone": "my zone"}),
        [f'spec.pod.nodeSelector[zone]: Invalid value: "my zone": {_LABEL_VALUE}'],
    ),
    "a taint without a key": (
        pod(tolerations=[{"value": "x"}]),
        [
            (
                "spec.pod.tolerations[0].operator: Invalid value: Allowed: "
                "Exists where there is no key, which tolerates every taint"
            )
        ],
    ),
    "a taint with a value that does not matter": (
        pod(tolerations=[{"key": "a", "operator": "Exists", "value": "x"}]),
        ["spec.pod.tolerations[0].value: Invalid value: must be left out with operator Exists"],
    ),
    "a time for a taint that evicts nobody": (
        pod(tolerations=[{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]),
        ["spec.pod.tolerations[0].tolerationSeconds: Invalid value: is for effect NoExecute only"],
    ),
    "an effect that there is not": (
        pod(tolerations=[{"key": "a", "effect": "NoExecution"}]),
        [
            (
                'spec.pod.tolerations[0].effect: Unsupported value: "NoExecution": supported values: '
                '"", "NoExecute", "NoSchedule", "PreferNoSchedule"'
            )
        ],
    ),
    "a taint with a key with a space": (
        pod(tolerations=[{"key": "a b"}]),
        [f'spec.pod.tolerations[0].key: Invalid value: "a b": {_TAINT_KEY}'],
    ),
    "a class with a name that is none": (
        pod(runtimeClassName="NVIDIA"),
        [f'spec.pod.runtimeClassName: Invalid value: "NVIDIA": {_OBJECT}'],
    ),
    "an unknown field": (
        spec(step=30),
        [f'{_UNKNOWN} "spec.step"'],
    ),
    "scaling, which is reserved": (
        spec(scaling={"maxReplicas": 3}),
        [f'{_UNKNOWN} "spec.scaling"'],
    ),
    "an unknown field of the GPU": (
        spec(gpu={"number": 1}),
        [f'{_UNKNOWN} "spec.gpu.number"'],
    ),
    "an unknown field in a list": (
        pod(tolerations=[{"key": "a", "seconds": 5}]),
        [f'{_UNKNOWN} "spec.pod.tolerations[0].seconds"'],
    ),
    "an unknown kind of affinity": (
        pod(affinity={"zoneAffinity": {}}),
        [f'{_UNKNOWN} "spec.pod.affinity.zoneAffinity"'],
    ),
    "inference that is a list": (
        spec(inference=[]),
        [('spec.inference: Invalid value: "array": spec.inference in body must be of type object: "array"')],
    ),
}
