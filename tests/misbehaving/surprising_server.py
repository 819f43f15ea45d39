"""A server with a mistake in how it loads models; all else is the real server."""

from imagegen_contract.image_model import ImageModelSpec
from imagegen_server import main
from imagegen_server.pipelines import loading
from imagegen_server.sources import Weights


class Mistaken(loading.PipelineLoader):
    """Divides by zero."""

    def weigh(self, weights: Weights, spec: ImageModelSpec) -> int:
        """Weigh nothing."""
        del weights, spec
        return 1 // 0


if __name__ == "__main__":
    loading.PipelineLoader = Mistaken
    main.run()
