"""Where bytes live, on any object store: packs, tables, arrays, keys."""
