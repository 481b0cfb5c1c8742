"""Cases of the `mgts` operators, one file an operator: what every form of it must compute."""
