"""The run directory: its files, the run record, and the lease of the driver that works on it."""

from rompy_hydra.workspace.script import EXIT_CODE as EXIT_CODE
from rompy_hydra.workspace.script import SCRIPT as SCRIPT
from rompy_hydra.workspace.script import STEP as STEP
from rompy_hydra.workspace.workspace import ATTEMPTS as ATTEMPTS
from rompy_hydra.workspace.workspace import BUILD_LOG as BUILD_LOG
from rompy_hydra.workspace.workspace import CLAIMS as CLAIMS
from rompy_hydra.workspace.workspace import COMPOSED as COMPOSED
from rompy_hydra.workspace.workspace import EVERYTHING as EVERYTHING
from rompy_hydra.workspace.workspace import LOG as LOG
from rompy_hydra.workspace.workspace import METRICS as METRICS
from rompy_hydra.workspace.workspace import RECORD as RECORD
from rompy_hydra.workspace.workspace import Glob as Glob
from rompy_hydra.workspace.workspace import Workspace as Workspace
from rompy_hydra.workspace.workspace import directory_of as directory_of
