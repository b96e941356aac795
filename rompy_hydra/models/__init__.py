"""Model configurations: what is simulated."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

if TYPE_CHECKING:
    from rompy_hydra.models.base import BaseConfig as BaseConfig
    from rompy_hydra.models.beach import Beach as Beach
    from rompy_hydra.models.salish_tsunami import SalishTsunami as SalishTsunami
    from rompy_hydra.models.success import SuccessChecks as SuccessChecks
    from rompy_hydra.models.template import TemplateModel as TemplateModel

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "base": ["BaseConfig"],
        "beach": ["Beach"],
        "salish_tsunami": ["SalishTsunami"],
        "success": ["SuccessChecks"],
        "template": ["TemplateModel"],
    },
)
