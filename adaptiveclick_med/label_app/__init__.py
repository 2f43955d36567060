"""The server for 3D Slicer and OHIF: a MONAI Label app, started by ``adaptiveclick-med serve``.

It needs the extra ``label``. The folder itself is the app that ``monailabel start_server --app`` takes, so its modules
must not be named like those of other packages: MONAI Label puts the folder on the module path.
"""

from __future__ import annotations
