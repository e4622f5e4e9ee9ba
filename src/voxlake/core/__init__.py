"""The shared nouns: Grid, Volume, Mask, Step, Plan, Run and the errors."""
