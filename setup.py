"""Build step that puts the settings files of `configs/` into the wheel as `bts/configs`. All else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path("configs")


class BuildWithConfigs(build_py):
    """Copy the settings files; an editable install reads those of the clone."""

    def run(self) -> None:
        """Build the package, then add the files."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "bts", CONFIGS)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(CONFIGS, target)


setup(cmdclass={"build_py": BuildWithConfigs})
