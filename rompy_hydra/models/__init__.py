"""Model configurations: what is simulated."""

from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.beach import Beach
from rompy_hydra.models.salish_tsunami import SalishTsunami
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.models.template import TemplateModel

__all__ = ["BaseConfig", "Beach", "SalishTsunami", "SuccessChecks", "TemplateModel"]
