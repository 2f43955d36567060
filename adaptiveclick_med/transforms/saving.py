"""Writing masks so that they lie on their images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from adaptiveclick_med._files import replacing
from adaptiveclick_med.data.geometry import slice_plane
from adaptiveclick_med.data.volume_writing import write_volume

__all__ = ["SaveMaskd"]


class SaveMaskd(MapTransform):
    """Writes a mask [1, H, W] of each sample: a PNG for a picture, a NIfTI volume for a slice of a volume.

    The PNG is 0 and 255 at the size of the picture. The NIfTI file has the size and the affine of the whole source
    volume, with the slice filled in, so that it overlays the source in any viewer. The file's path is put into
    ``<key>_path``.

    Args:
        keys: keys of the masks.
        output_dir: folder for the files.
        reference_key: key of the image as ``LoadSampled`` gives it; its meta data tell what the mask belongs to.
        name_key: key of the sample's name, from which the file's name is made.
        postfix: end of the file's name.
    """

    def __init__(
        self,
        keys: KeysCollection = "mask",
        output_dir: str | Path = ".",
        *,
        reference_key: str = "image",
        name_key: str = "name",
        postfix: str = "mask",
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.reference_key = reference_key
        self.name_key = name_key
        self.postfix = postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the masks of one sample.

        Raises:
            ValueError: when a mask is not [1, H, W] of the size of its image.
        """
        result = dict(data)
        meta = result[self.reference_key].meta
        size = tuple(result[self.reference_key].shape[-2:])
        stem = str(result[self.name_key]).replace("/", "_").replace("\\", "_")
        for key in self.keys:
            mask = np.asarray(result[key])
            if mask.shape != (1, *size):
                raise ValueError(f"{key} must be of shape {[1, *size]} like its image, got {list(mask.shape)}.")
            write = self._write_slice if "volume_affine" in meta else self._write_picture
            result[f"{key}_path"] = str(write(mask[0] > 0, meta, f"{stem}_{self.postfix}"))
        return result

    def _write_picture(self, mask: np.ndarray, meta: Mapping[str, Any], stem: str) -> Path:
        from PIL import Image

        path = self.output_dir / f"{stem}.png"
        with replacing(path) as temporary:
            Image.fromarray(mask.astype(np.uint8) * 255).save(temporary)
        return path

    def _write_slice(self, mask: np.ndarray, meta: Mapping[str, Any], stem: str) -> Path:
        affine = np.asarray(meta["volume_affine"], dtype=np.float64).reshape(4, 4)
        shape = tuple(int(side) for side in np.asarray(meta["volume_shape"]).ravel())
        volume = np.zeros(shape, dtype=np.uint8)
        slice_plane(affine, str(meta["plane"])).put(volume, int(meta["slice_index"]), mask.astype(np.uint8))
        path = self.output_dir / f"{stem}.nii.gz"
        write_volume(path, volume, affine)
        return path
