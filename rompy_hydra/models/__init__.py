"""Model configurations: what is simulated."""

from typing import TYPE_CHECKING

from rompy_hydra.lazy import lazy

if TYPE_CHECKING:
    from rompy_hydra.models.base import BaseConfig
    from rompy_hydra.models.beach import Beach
    from rompy_hydra.models.salish_tsunami import SalishTsunami
    from rompy_hydra.models.success import SuccessChecks
    from rompy_hydra.models.template import TemplateModel

__all__ = ["BaseConfig", "Beach", "SalishTsunami", "SuccessChecks", "TemplateModel"]

__getattr__ = lazy(
    __name__,
    {
        "base": ["BaseConfig"],
        "beach": ["Beach"],
        "salish_tsunami": ["SalishTsunami"],
        "success": ["SuccessChecks"],
        "template": ["TemplateModel"],
    },
)
