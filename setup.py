"""The packages of the wheel, found in their folders; everything else is in setup.cfg.

tasks/ and vectors/ stand at the top of the repository and are installed inside the package, which setup.cfg's `find:`
cannot say.
"""

from setuptools import find_packages, setup

FOLDERS = {"lm_eval_steer": "lm_eval_steer", "lm_eval_steer.tasks": "tasks", "lm_eval_steer.shipped": "vectors"}

setup(
    package_dir=FOLDERS,
    packages=[f"{name}.{inner}" for name, folder in FOLDERS.items() for inner in find_packages(folder)] + [*FOLDERS],
)
