from rompy_hydra.postprocess.base import *


class MapPostprocessor(BasePostprocessor):
    name = "map"

    def process(self, model_run, **s):
        return {}
