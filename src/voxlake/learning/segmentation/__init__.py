"""Segmentation: from volumes with masks over patches and networks to new masks."""
