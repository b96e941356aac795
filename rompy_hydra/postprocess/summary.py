from rompy_hydra.postprocess.base import *


class SummaryPostprocessor(BasePostprocessor):
    name = "summary"

    def process(self, model_run, **s):
        return {}
