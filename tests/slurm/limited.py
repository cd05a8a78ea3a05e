"""A SLURM with accounts and limits: the tests' SLURM with slurmdbd and a MariaDB of its own, without a network."""

from __future__ import annotations

import shutil
import subprocess

from cluster import Cluster, free_ports, lacking, search_path, wait_for

PROGRAMS = ["slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db"]
# slurmdbd connects as the database's root, who is recognised by the user of its process.
SLURMDBD_CONF = """
DbdHost=localhost
DbdPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
SlurmUser=root
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
"""
ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={{folder}}/run/munge.socket
AccountingStorageEnforce=limits,qos"""


# How many jobs a user may have in the queue.
LIMIT = 2


def lacking_for_limits() -> str | None:
    """What this machine lacks for a SLURM with limits, as a sentence, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=search_path()) is None]
    return lacking() or (f"no {', '.join(missing)} (Debian: slurmdbd mariadb-server)" if missing else None)


class LimitedCluster(Cluster):
    """A SLURM that enforces the limits of accounts and of qualities of service (QOS)."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.accounting = ACCOUNTING.format(port=self.port)
        super().__init__()
        self.database = self.folder / "database"
        socket = self.folder / "run" / "database.socket"
        self.environment["MYSQL_UNIX_PORT"] = str(socket)
        configuration = self.folder / "slurmdbd.conf"
        configuration.write_text(SLURMDBD_CONF.format(port=self.port, folder=self.folder))
        configuration.chmod(0o600)

    def start_accounting(self) -> None:
        """Start MariaDB and slurmdbd."""
        socket = self.environment["MYSQL_UNIX_PORT"]
        install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={self.database}", "--skip-test-db"]
        subprocess.run(install, env=self.environment, check=True, capture_output=True)
        here = ["--user=root", f"--datadir={self.database}", f"--socket={socket}", "--skip-networking"]
        self._start("mariadbd", "--no-defaults", *here, f"--pid-file={self.folder / 'run' / 'database.pid'}")
        wait_for(lambda: (self.folder / "run" / "database.socket").exists(), "the database's socket")
        self._start("slurmdbd", "-D")
        wait_for(lambda: "Cluster" in self.ask("sacctmgr", "show", "cluster"), "slurmdbd")
        self.manage("add", "cluster", "wbcsrtests")
        self.manage("add", "account", "haematology")
        self.manage("add", "user", "root", "account=haematology", "defaultaccount=haematology")
        self.manage("add", "qos", "limited", f"MaxSubmitJobsPerUser={LIMIT}")
        self.manage("modify", "user", "root", "set", "qos=limited,normal", "defaultqos=limited")

    def manage(self, *command: str) -> None:
        """Run `sacctmgr`, for example to set a limit."""
        subprocess.run(["sacctmgr", "--immediate", *command], env=self.environment, check=True, capture_output=True)
