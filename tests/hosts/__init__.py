"""Real systemd hosts in containers, to deploy to over SSH, with stand-in packages that need no network."""
