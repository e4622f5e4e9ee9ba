"""Mining of tables: variables of subjects become models, groups, neighbours and associations."""
