"""Infer mask, class and Grad-CAM of scans.

python infer.py scan.png                        # .jpg .tif .mat .dcm .nii.gz too, several files, a folder, "*.mat"
python infer.py list.txt                        # one path per line
python infer.py volume.nii.gz --axis 2          # slice by slice; the mask comes back as NIfTI
python infer.py scan.png --seg runs/seg/TIME --cls runs/cls/TIME --out results/mine
python infer.py --help
"""

from __future__ import annotations

from bts.apps.infer import main
from bts.apps.run import run_program

if __name__ == "__main__":
    run_program(main)
