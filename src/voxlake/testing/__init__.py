"""Public: contract suites and Hypothesis strategies for plugin authors."""
