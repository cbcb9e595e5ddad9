"""What tests of backups on hosts need: restic in their archive, and a database as Grafana has one."""

from __future__ import annotations

from . import image
from .host import Host
from .repository import RepositoryServer

GRAFANA = "/var/lib/grafana/grafana.db"
ASK_GRAFANA = f"""python3 -c "
import sqlite3
db = sqlite3.connect('{GRAFANA}')
print(*(row[0] for table in ('user', 'dashboard') for row in db.execute(f'SELECT * FROM {{table}}')))
\""""
MAKE_GRAFANA = f"""python3 -c "
import sqlite3
db = sqlite3.connect('{GRAFANA}')
db.executescript('CREATE TABLE user (login); CREATE TABLE dashboard (title)')
db.executescript('INSERT INTO user VALUES (\\'reader\\'); INSERT INTO dashboard VALUES (\\'made by hand\\')')
" && chown grafana:grafana {GRAFANA} && chmod 640 {GRAFANA}"""


def offer_restic(host: Host, server: RepositoryServer) -> None:
    """Let the host's archive of Debian have restic, as Debian's own has."""
    debian = server.debian()
    debian.add_files(file for file in image.debian_packages("bookworm") if file.name.startswith("restic_"))
    host.offer_debian(debian)
