"""Random changes of images for training: what is drawn is a plan, and a plan can be written down."""
