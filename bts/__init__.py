"""bts: brain tumour segmentation and classification of MRI slices, by patient."""

__version__ = "0.1.0"
