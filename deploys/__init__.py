"""The rollout, one module per component; `deploy.py` at the top says in which order."""
