"""PostgreSQL as the database of a team's studies: connections, locks, and its errors in one line.

The address is in RNNEXP_STORAGE. A password belongs there, or in libpq's own places (PGPASSWORD, ~/.pgpass). psycopg is
imported only here, and only if such an address is set: the extra `rnnexp[postgres]` installs it.
"""

import contextlib
import hashlib
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnexp import addresses, disk
from rnnexp.errors import StorageError, StorageLostError

if TYPE_CHECKING:
    import psycopg

CONNECTION: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Options of libpq. A server that does not answer any more is noticed within half a minute."""

_SERVER_KEEPALIVES = "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""The server, too, notices within half a minute that a machine is gone; then it releases its locks."""

_LOST_STATES = ("08", "57P01", "57P02", "57P03")
"""SQLSTATE of errors of the connection, of a server that shuts down or starts, and of one that was ended."""
_NO_RIGHT = "42501"
_NO_TABLE, _NO_COLUMN = "42P01", "42703"
_TABLES = "/tables"
"""The name of the lock for creating the tables; no study has such a name."""
_MAX_NAME_BYTES = 63
"""PostgreSQL cuts the name of an application."""


@contextlib.contextmanager
def one_line_errors(address: str) -> Iterator[None]:
    """Turns errors of the database into a `StorageError`.

    Args:
        address: the address, with or without credentials.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("psycopg", "psycopg_c", "psycopg_binary"):
            raise
        raise StorageError(
            f"storage {addresses.without_credentials(address)}: PostgreSQL needs the package psycopg; run "
            "`pip install 'rnnexp[postgres]'`"
        ) from None
    except Exception as error:
        if (found := fault(error)) is None:
            raise
        raise StorageError(f"storage {addresses.without_credentials(address)}: {found}") from None


@contextlib.contextmanager
def reading(address: str) -> "Iterator[psycopg.Connection[Any]]":
    """Opens a connection for reading; all that is read from it is of one moment.

    Raises:
        StorageError: if the database cannot be used.
    """
    with one_line_errors(address):
        import psycopg

        with connect(address, "rnnexp reads") as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield connection


def connect(address: str, name: str) -> "psycopg.Connection[Any]":
    """Opens a connection.

    Args:
        address: the address of the database.
        name: the name of the application, which others see in `pg_stat_activity`.

    Raises:
        psycopg.Error: if the database cannot be used.
    """
    import psycopg

    place = address.replace("postgresql+psycopg://", "postgresql://", 1)
    return psycopg.connect(place, application_name=name, **CONNECTION)


@contextlib.contextmanager
def creation_lock(address: str) -> Iterator[None]:
    """Holds the lock for creating the tables: processes that create them at the same time crash.

    Raises:
        psycopg.Error: if the database cannot be used.
    """
    with connect(address, "rnnexp creates tables") as connection:
        connection.autocommit = True
        connection.execute("SELECT pg_advisory_lock(%s)", (lock_key(_TABLES),))
        yield


@dataclass(frozen=True)
class ServerFacts:
    """Facts about a database server.

    Attributes:
        server_version: PostgreSQL's version.
        user: who is connected.
        clock_s: how far its clock is ahead of this machine's, in seconds.
        schema_version: the version of Optuna's tables; None if there are none yet.
        missing_right: which right the user lacks for running studies, as a predicate; None if it has all.
    """

    server_version: str
    user: str
    clock_s: float
    schema_version: str | None
    missing_right: str | None


def describe(address: str) -> ServerFacts:
    """Asks a database about itself.

    Raises:
        StorageError: if it cannot be used.
    """
    with reading(address) as connection:

        def ask(query: str) -> Any:
            row = connection.execute(query).fetchone()
            return row[0] if row is not None else None

        began = time.time()
        clock = float(ask("SELECT extract(epoch FROM clock_timestamp())"))
        has_tables = ask("SELECT to_regclass('alembic_version')") is not None
        missing = None
        if ask("SELECT pg_is_in_recovery()"):
            missing = "can only read, because this server is a replica"
        elif not has_tables and not ask("SELECT has_schema_privilege(current_schema(), 'CREATE')"):
            missing = "may not create tables"
        elif has_tables and not ask("SELECT has_table_privilege('trials', 'INSERT, UPDATE')"):
            missing = "may not write to the tables"
        return ServerFacts(
            server_version=str(ask("SHOW server_version")).partition(" ")[0],
            user=str(ask("SELECT current_user")),
            clock_s=clock - (began + time.time()) / 2,
            schema_version=ask("SELECT version_num FROM alembic_version") if has_tables else None,
            missing_right=missing,
        )


class AdvisoryLock:
    """A lock of the database, held on a connection of its own. It falls when the connection or its process ends."""

    def __init__(self, address: str, name: str) -> None:
        """Takes no lock yet.

        Args:
            address: the address of the database.
            name: what is locked.
        """
        self._address, self._name = address, name
        self._connection: psycopg.Connection[Any] | None = None

    def acquire(self, holder: str) -> bool:
        """Takes the lock if it is free; returns whether it was.

        Args:
            holder: describes the holder; others see it.

        Raises:
            StorageError: if the database cannot be used.
        """
        self.release()
        with one_line_errors(self._address):
            connection = connect(self._address, _cut(holder))
            try:
                connection.autocommit = True
                connection.execute(_SERVER_KEEPALIVES)
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", (lock_key(self._name),)).fetchone()
            except BaseException:
                connection.close()
                raise
        if row != (True,):
            connection.close()
            return False
        self._connection = connection
        return True

    def check(self) -> None:
        """Checks, without waiting, that the lock is still held.

        Raises:
            StorageLostError: if the connection has ended, and the lock with it.
        """
        import psycopg

        if self._connection is None:
            raise StorageLostError("the lock of the study is lost")
        try:
            # Nothing is asked on this connection, so the server only sends something when it ends it.
            if _is_readable(self._connection.pgconn.socket):
                self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            raise StorageLostError(f"the lock of the study is lost: {_first_line(error)}") from None

    def release(self) -> None:
        """Releases the lock, if it is held."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def lock_holder(connection: "psycopg.Connection[Any]", name: str) -> str | None:
    """Returns how the holder of a lock has described itself; None if the lock is free."""
    key = lock_key(name) & (2**64 - 1)
    row = connection.execute(
        "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND "
        "granted AND objsubid = 1 AND classid::bigint = %s AND objid::bigint = %s AND pg_locks.database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())",
        (key >> 32, key & (2**32 - 1)),
    ).fetchone()
    return None if row is None else str(row[0])


def lock_key(name: str) -> int:
    """Returns the key of an advisory lock, a signed number of 64 bits."""
    digest = hashlib.sha256(f"rnnexp:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def loss(error: BaseException) -> str | None:
    """Returns how the connection to the database was lost; None if that has not caused the exception."""
    psycopg = sys.modules.get("psycopg")
    for each in disk.chain(error):
        if isinstance(each, StorageLostError):
            return str(each)
        if psycopg is not None and isinstance(each, psycopg.OperationalError | psycopg.InterfaceError):
            is_lost = each.sqlstate is None or each.sqlstate.startswith(_LOST_STATES)
            return _first_line(each) if is_lost else None
    return None


def fault(error: BaseException) -> str | None:
    """Returns why the database cannot be used, and what to do; None if it has not caused the exception."""
    psycopg = sys.modules.get("psycopg")
    causes = [each for each in disk.chain(error) if psycopg is not None and isinstance(each, psycopg.Error)]
    if not causes:
        return None
    line, state = _first_line(causes[-1]), causes[-1].sqlstate
    if state == _NO_RIGHT:
        return f"the user lacks a right ({line}); `GRANT CREATE, USAGE ON SCHEMA public` gives it"
    if state in (_NO_TABLE, _NO_COLUMN):
        return f"its tables are of another version of Optuna ({line}); `rnnexp doctor` says what to do"
    return f"it cannot be used ({line}); check RNNEXP_STORAGE, and that the server is running"


def _first_line(error: BaseException) -> str:
    """Returns the line that says what happened; the others of libpq's messages give hints."""
    return addresses.one_line(str(error).partition("\n")[0].removeprefix("consuming input failed: "), 240)


def _is_readable(descriptor: int) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))


def _cut(name: str) -> str:
    return name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
