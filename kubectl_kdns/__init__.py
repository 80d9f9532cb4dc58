"""kubectl-kdns: what happened to this DNS lookup?"""

__version__ = "0.1.0"
