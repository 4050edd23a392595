"""Tables: one file per table or ablation of a paper. protocols.py holds what they share."""
