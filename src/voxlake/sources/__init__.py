"""Where images come from: folders, archives, image files, phantoms. A source knows nothing of lakes."""
