"""Where images come from: folders, archives, image files, phantoms."""
