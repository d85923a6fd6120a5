"""`doctor` tells by trying whether archives can share blocks, before there is any."""

from __future__ import annotations

import os

import pytest

from safeharbor_backup.actions.doctor.archive_checks import check_sharing
from safeharbor_backup.actions.doctor.write_probe import probe_directory
from safeharbor_backup.settings.upload_dirs import UploadDir
from support.filesystems import mounted_in_memory

SIZES = {"ext4": 16 << 20, "xfs": 320 << 20, "btrfs": 128 << 20}


@pytest.mark.parametrize(("kind", "can_share"), [("ext4", False), ("xfs", True), ("btrfs", True)])
def test_a_filesystem_is_known_by_what_it_does(kind: str, can_share: bool) -> None:
    with mounted_in_memory(kind, SIZES[kind]) as (place, _):
        probed = probe_directory(place)
        [finding] = check_sharing((UploadDir(place),), probed)

        assert probed.can_share is can_share
        assert finding.text.startswith("archives share" if can_share else "this filesystem cannot")
        assert set(os.listdir(place)) <= {"lost+found"}
