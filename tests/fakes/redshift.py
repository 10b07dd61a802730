"""A stand-in for Amazon Redshift: its protocol and its SQL in front of a real Postgres, and COPY from an S3.

    python redshift.py SOCKET S3

listens on a port of its own, prints it, and ends with its standard input. Sessions are those of the Postgres
behind the socket, at an isolation that snapshots as Redshift's does. What Redshift's SQL has not is refused before
Postgres sees it. Its types are domains of the database `redshift_template` (see `TEMPLATE`): SUPER takes only what
it holds exactly, VARCHAR counts bytes, VARBYTE is written and shown as hexadecimal digits. Quoted names lose their
case until the session asks for it to be kept. Who signs in needs a password, `PASSWORD` by default.

    SET stand_in.fault TO 'COPY|53100|Disk Full'

makes the next statement that begins with COPY, of whichever session, fail like that.
"""

from __future__ import annotations

import collections
import csv
import gzip
import hashlib
import io
import os
import re
import socket
import struct
import sys
import threading
from typing import Any

import boto3
import botocore.exceptions

PASSWORD = "Passw0rd"
STATEMENT = 16 * 1024 * 1024
PARAMETERS = 32_767
ROW = 4 * 1024 * 1024

TYPES = {3802: 4000, 1042: 6551, 25: 1043}
"""Numbers of Postgres's types -> Redshift's: jsonb is SUPER, character is VARBYTE, text is VARCHAR."""

TEMPLATE = """
CREATE SCHEMA redshift;
GRANT USAGE ON SCHEMA redshift TO PUBLIC;
CREATE FUNCTION redshift.is_super(value jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF jsonb_typeof(value) = 'null' THEN
    RAISE 'a lone null would be lost';
  END IF;
  IF octet_length(value::text) > 65535 THEN
    IF octet_length(value::text) > 16777216 OR EXISTS (
      SELECT FROM jsonb_path_query(value, '$.** ? (@.type() == "string")') AS s
      WHERE octet_length(s #>> '{}') > 65535
    ) THEN
      RAISE 'String value exceeds the max size of 65535 bytes';
    END IF;
  END IF;
  IF value::text ~ '[0-9][0-9.]{14,}' AND EXISTS (
    SELECT FROM jsonb_path_query(value, '$.** ? (@.type() == "number")') AS n
    WHERE CASE WHEN n::text LIKE '%.%' THEN length(btrim(replace(ltrim(n::text, '-'), '.', ''), '0')) > 15
               ELSE n::numeric NOT BETWEEN -9223372036854775808 AND 9223372036854775807 END
  ) THEN
    RAISE 'a number would lose digits';
  END IF;
  RETURN true;
END $$;
CREATE DOMAIN redshift.super AS jsonb CHECK (redshift.is_super(VALUE));
CREATE DOMAIN redshift.varchar65535 AS character varying CHECK (octet_length(VALUE) <= 65535);
CREATE DOMAIN redshift.varbyte AS bpchar
  CHECK (VALUE ~ '^[0-9a-f]*$' AND length(VALUE) % 2 = 0 AND length(VALUE) <= 2 * 16777216);
CREATE FUNCTION redshift.json_parse(value varchar) RETURNS redshift.super LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF octet_length(value) > 65535 THEN RAISE 'Value too long for character type'; END IF;
  RETURN value::jsonb;
END $$;
CREATE FUNCTION redshift.json_parse(value bpchar) RETURNS redshift.super
  LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT convert_from(decode(value::text, 'hex'), 'UTF8')::jsonb $$;
CREATE FUNCTION redshift.joined(a bpchar, b bpchar) RETURNS bpchar
  LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT a::text || b::text $$;
CREATE OPERATOR redshift.|| (LEFTARG = bpchar, RIGHTARG = bpchar, FUNCTION = redshift.joined);
CREATE FUNCTION redshift.json_size(value redshift.super) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
  AS $$ SELECT octet_length(value::text) $$;
CREATE FUNCTION redshift.json_serialize(value redshift.super) RETURNS redshift.varchar65535
  LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT value::text $$;
CREATE FUNCTION redshift.json_serialize_to_varbyte(value redshift.super) RETURNS redshift.varbyte
  LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT encode(convert_to(value::text, 'UTF8'), 'hex') $$;
CREATE FUNCTION redshift.to_varbyte(value varchar, coding varchar) RETURNS redshift.varbyte
  LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF octet_length(value) > 65535 THEN RAISE 'Value too long for character type'; END IF;
  RETURN CASE coding WHEN 'hex' THEN lower(value) WHEN 'utf8' THEN encode(convert_to(value, 'UTF8'), 'hex') END;
END $$;
CREATE FUNCTION redshift.from_varbyte(value redshift.varbyte, coding varchar) RETURNS redshift.varchar65535
  LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT convert_from(decode(value::text, 'hex'), 'UTF8') $$;
CREATE FUNCTION redshift.db_collation() RETURNS varchar LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN current_setting('stand_in.ignores_case', true) = 'on'
    THEN 'case_insensitive' ELSE 'case_sensitive' END
$$;
CREATE FUNCTION redshift.format_type(kind oid, modifier integer) RETURNS varchar LANGUAGE sql STABLE AS $$
  SELECT CASE kind
    WHEN 'redshift.super'::regtype THEN 'super'
    WHEN 'redshift.varchar65535'::regtype THEN 'character varying(65535)'
    WHEN 'redshift.varbyte'::regtype THEN 'binary varying(16777216)'
    ELSE pg_catalog.format_type(kind, modifier) END
$$;
"""
"""What a database has before anybody uses it; domains and functions shadow those of Postgres by the search path."""

REFUSED = (
    r"\bunnest\s*\(",
    r"\bON\s+CONFLICT\b",
    r"\bjsonb?\b",
    r"\bto_jsonb?\s*\(",
    r"\bpg_(try_)?advisory\w*",
    r"\bhashtext\w*",
    r"\bCREATE\s+(UNIQUE\s+)?INDEX\b",
    r"\bSAVEPOINT\b",
    r"\bRELEASE\b",
    r"\bRETURNING\b",
    r"\bLATERAL\b",
    r"\bDISTINCT\s+ON\b",
    r"\bIS\s+(NOT\s+)?DISTINCT\s+FROM\b",
    r"\bFOR\s+(UPDATE|SHARE)\b",
    r"\bFILTER\s*\(",
    r"\bFROM\s+\(\s*VALUES\b",
    r"\bSTDIN\b",
    r"\bDEALLOCATE\s+ALL\b",
    r"\bDISCARD\b",
    r"\bSET\s+TRANSACTION\s+READ\b",
    r"\bADD\s+COLUMN\s+IF\b",
    r"\bADD\s+COLUMN\b.*\bADD\s+COLUMN\b",
    r"\bCREATE\s+TABLE\b.*\b(text|bytea|serial|uuid|oid)\b",
    r"\bALTER\s+COLUMN\b(?!.*\bTYPE\s+(varchar|character varying)\s*\()",
    r"\bDELETE\s+FROM\s+\S+\s+(AS\s+)?(?!WHERE\b|USING\b)\w+",
    r"\bUPDATE\s+\S+\s+AS\b",
    r"\bARRAY\s*\[",
    r"\[\]",
    r"::\s*text\b",
    r"\bgenerate_series\s*\(",
    r"\bSTARTS_WITH\s*\(",
    r"@>|\?\||->>?",
    r"\bWITH\s+HOLD\b",
    r"\bREPEATABLE\s+READ\b",
)
"""What Redshift has not, outside of quotes. https://docs.aws.amazon.com/redshift/latest/dg/c_unsupported-postgresql-features.html"""

_refused = [re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in REFUSED]
_quotes = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_name = r'(?:"(?:[^"]|"")+"|\w+)'
_copy = re.compile(
    rf"COPY (?P<table>{_name}(?:\.{_name})?) \((?P<columns>{_name}(?:, {_name})*)\) "
    r"FROM 's3://(?P<bucket>[^/']+)/(?P<prefix>[^']*)' IAM_ROLE (?P<role>default|'arn:[^']+')"
    r"(?: REGION '(?P<region>[^']+)')? FORMAT AS CSV GZIP NULL AS '(?P<null>[^']+)' TIMEFORMAT 'auto'"
)


class Refusal(Exception):
    """An error that Redshift answers with."""

    def __init__(self, state: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.fields = {"S": "ERROR", "C": state, "M": message} | ({"D": detail} if detail else {})


class Server:
    """The door, what all sessions share, and the way to the Postgres behind."""

    def __init__(self, path: str, s3: str) -> None:
        self.path = path
        self.store = boto3.client(
            "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="r", aws_secret_access_key="s"
        )
        self.passwords = {"postgres": PASSWORD}
        self.faults: list[tuple[str, str, str]] = []

    def run(self) -> None:
        """Serve every connection in threads of its own."""
        with socket.create_server(("127.0.0.1", 0), backlog=64) as door:
            print(door.getsockname()[1], flush=True)
            while True:
                near, _ = door.accept()
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=Session(self, near).run, daemon=True).start()

    def behind(self) -> socket.socket:
        """A connection to the Postgres."""
        far = socket.socket(socket.AF_UNIX)
        far.connect(self.path)
        return far


class Session:
    """One connection."""

    def __init__(self, server: Server, near: socket.socket) -> None:
        self.server, self.near = server, near
        self.keeps_case = False
        self.is_unicode = True
        self.answers: collections.deque[dict[str, str]] = collections.deque()
        """What to say instead of the errors that come next."""

    def run(self) -> None:
        """Let somebody in, and carry what is said to and fro."""
        far = None
        try:
            asked = self.greet()
            if asked is None:
                return
            far = self.server.behind()
            far.sendall(asked)
            back = threading.Thread(target=self.answer, args=(far,), daemon=True)
            back.start()
            self.listen(far)
            back.join()
        except OSError:
            pass
        finally:
            for end in (self.near, far):
                if end is not None:
                    end.close()

    def greet(self) -> bytes | None:
        """Sign in; the first message for Postgres, or None where nothing follows."""
        while True:
            head = exactly(self.near, 8)
            size, code = struct.unpack("!ii", head)
            rest = exactly(self.near, size - 8)
            if code in (80877103, 80877104):  # TLS, GSSAPI
                self.near.sendall(b"N")
                continue
            if code == 80877102:  # cancel
                with self.server.behind() as far:
                    far.sendall(head + rest)
                    far.recv(1)
                return None
            break
        words = rest.decode().split("\0")
        asked = dict(zip(words[::2], words[1::2], strict=False))
        if "options" in asked:
            self.say(Refusal("42704", "unrecognized configuration parameter in options"), "FATAL")
            return None
        self.is_unicode = asked.get("client_encoding", "").lower().replace("-", "") != "utf8"
        user, salt = asked["user"], os.urandom(4)
        self.near.sendall(b"R" + struct.pack("!ii", 12, 5) + salt)
        kind, said = message(self.near)
        known = self.server.passwords.get(user)
        inner = hashlib.md5(f"{known}{user}".encode()).hexdigest()
        right = "md5" + hashlib.md5(inner.encode() + salt).hexdigest()
        if kind != b"p" or known is None or said.rstrip(b"\0").decode() != right:
            self.say(Refusal("28000", f'password authentication failed for user "{user}"'), "FATAL")
            return None
        kept = {"user": user, "database": asked.get("database", user), "client_encoding": "UTF8"}
        kept["options"] = (
            "-c search_path=redshift,pg_catalog,public -c default_transaction_isolation=repeatable\\ read "
            "-c timezone=Asia/Kolkata -c extra_float_digits=0"
        )
        text = "".join(f"{name}\0{value}\0" for name, value in kept.items()) + "\0"
        return struct.pack("!ii", len(text.encode()) + 8, 196608) + text.encode()

    def say(self, refusal: Refusal, severity: str) -> None:
        self.near.sendall(error(refusal.fields | {"S": severity}))

    def listen(self, far: socket.socket) -> None:
        """Carry what the client says to Postgres, in its words."""
        try:
            while True:
                kind, body = message(self.near)
                try:
                    far.sendall(self.passed(kind, body))
                except Refusal as refusal:
                    self.answers.append(refusal.fields)
                    broken = b"NOT SQL\0"
                    far.sendall(
                        packed(b"Q", broken)
                        if kind == b"Q"
                        else packed(b"B", b"\0none\0\0\0\0\0\0\0")
                        if kind == b"B"
                        else packed(b"P", b"\0" + broken + b"\0\0")
                    )
        except OSError:
            pass
        finally:
            far.shutdown(socket.SHUT_RDWR)

    def passed(self, kind: bytes, body: bytes) -> bytes:
        """A message of the client's as Postgres shall see it; raises Refusal."""
        if kind == b"Q":
            return self.query(body[:-1].decode())
        if kind == b"P":
            name, text, rest = body.split(b"\0", 2)
            return packed(kind, name + b"\0" + self.spoken(text.decode()).encode() + b"\0" + rest)
        if kind == b"B":
            if len(body) > STATEMENT:
                raise Refusal("54000", "Statement is too large. Maximum Allowed: 16777216 bytes")
            start = body.index(b"\0", body.index(b"\0") + 1) + 1
            (formats,) = struct.unpack_from("!h", body, start)
            (count,) = struct.unpack_from("!H", body, start + 2 + 2 * formats)
            if count > PARAMETERS:
                raise Refusal("54000", f"number of parameters must be between 0 and {PARAMETERS}")
        return packed(kind, body)

    def query(self, text: str) -> bytes:
        if re.match(r"\s*COPY\b", text, re.IGNORECASE):
            return self.copied(text)
        return packed(b"Q", self.spoken(text).encode() + b"\0")

    def spoken(self, text: str) -> str:
        """A statement in Postgres's words; raises Refusal."""
        if len(text.encode()) > STATEMENT:
            raise Refusal("54000", "Statement is too large. Maximum Allowed: 16777216 bytes")
        found = re.match(r"SET stand_in\.fault TO '(\w+)\|(\w+)\|([^']*)'", text)
        if found:
            self.server.faults.append((found[1], found[2], found[3]))
            return "SET redshift.fault TO ''"
        for fault in self.server.faults:
            if re.match(rf"\s*{fault[0]}\b", text, re.IGNORECASE):
                self.server.faults.remove(fault)
                raise Refusal(fault[1], *fault[2].split("|"))
        found = re.fullmatch(r"SET enable_case_sensitive_identifier TO (true|false)", text)
        if found:
            self.keeps_case = found[1] == "true"
            return "SET redshift.keeps_case TO ''"
        found = re.match(rf"CREATE USER ({_name}) PASSWORD '([^']+)'", text)
        if found:
            self.server.passwords[found[1].strip('"')] = found[2]
        bare = _quotes.sub(lambda one: "''" if one[0][0] == "'" else "q", text)
        for pattern in _refused:
            wrong = pattern.search(bare)
            if wrong:
                raise Refusal("42601", f'syntax error at or near "{wrong[0].split()[0]}"')
        if not self.keeps_case:
            text = _quotes.sub(lambda one: one[0].lower() if one[0][0] == '"' else one[0], text)
        return self.outside(text)

    def outside(self, text: str) -> str:
        """Types, and steps into SUPER, as Postgres has them."""
        pieces = []
        end = 0
        for quoted in [*_quotes.finditer(text), None]:
            plain = text[end : quoted.start() if quoted else None]
            plain = re.sub(r"\b(?:varchar|character varying)\(65535\)", "redshift.varchar65535", plain)
            plain = re.sub(r"\bvarbyte\(\d+\)", "redshift.varbyte", plain)
            plain = re.sub(r"\bJSON_SERIALIZE\(", "redshift.json_serialize(", plain)  # Postgres has another
            pieces.append(plain)
            if quoted:
                pieces.append(quoted[0])
                end = quoted.end()
        return re.sub(rf'({_name})\."(_tidegate_pieces)"', r"(\1->'\2')", "".join(pieces))

    def copied(self, text: str) -> bytes:
        """COPY from S3: the files are read here, and their rows go to Postgres by its own COPY."""
        self.spoken("COPY")  # which may be what shall fail
        found = _copy.fullmatch(text.strip())
        if found is None:
            raise Refusal("42601", "syntax error in COPY")
        if "forbidden" in found["role"]:
            raise Refusal("XX000", "S3ServiceException:Access Denied,Status 403,Error AccessDenied")
        try:
            listed = self.server.store.list_objects_v2(Bucket=found["bucket"], Prefix=found["prefix"])
            keys = [each["Key"] for each in listed.get("Contents", [])]
            files = [
                self.server.store.get_object(Bucket=found["bucket"], Key=key)["Body"].read() for key in keys
            ]
        except botocore.exceptions.ClientError as error:
            raise Refusal("XX000", f"S3ServiceException:{error.response['Error']['Code']}") from None
        if not files:
            raise Refusal("XX000", f"The specified S3 prefix '{found['prefix']}' does not exist")
        rows = b"".join(map(gzip.decompress, files))
        self.check(rows)
        columns = found["columns"]
        begin = f"COPY {found['table']} ({columns}) FROM STDIN (FORMAT csv, NULL '{found['null']}')"
        data = [packed(b"d", rows[at : at + 65536]) for at in range(0, len(rows), 65536)]
        return packed(b"Q", begin.encode() + b"\0") + b"".join(data) + packed(b"c", b"")

    def check(self, rows: bytes) -> None:
        """Refuse rows that are too long."""
        if len(rows) <= ROW:
            return
        csv.field_size_limit(2**31 - 1)
        for row in csv.reader(io.StringIO(rows.decode(), newline="")):
            if sum(len(value.encode()) for value in row) > ROW:
                raise Refusal("XX000", "Load into table failed. Check 'sys_load_error_detail' system table.")

    def answer(self, far: socket.socket) -> None:
        """Carry what Postgres says to the client, in Redshift's words."""
        try:
            buffer = bytearray()
            while data := far.recv(1 << 18):
                buffer += data
                out, at = bytearray(), 0
                while len(buffer) - at >= 5:
                    (size,) = struct.unpack_from("!i", buffer, at + 1)
                    if len(buffer) - at < size + 1:
                        break
                    kind, body = bytes(buffer[at : at + 1]), bytes(buffer[at + 5 : at + size + 1])
                    out += self.heard(kind, body)
                    at += size + 1
                del buffer[:at]
                self.near.sendall(out)
        except OSError:
            pass
        finally:
            self.near.shutdown(socket.SHUT_RDWR)

    def heard(self, kind: bytes, body: bytes) -> bytes:
        """A message of Postgres's as the client shall see it."""
        if kind == b"T":
            return packed(kind, described(body))
        if kind == b"E":
            fields = {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}
            return error(self.answers.popleft() if self.answers else meant(fields))
        if kind == b"Z":
            self.answers.clear()
        if kind == b"G":  # its own COPY, of which the client knows nothing
            return b""
        if kind == b"S":
            name, value, _ = body.split(b"\0")
            if name == b"server_version":
                value = b"8.0.2"
            elif name == b"client_encoding" and self.is_unicode:
                value = b"UNICODE"
            elif name == b"search_path":
                return b""
            return packed(kind, name + b"\0" + value + b"\0")
        return packed(kind, body)


def meant(fields: dict[str, str]) -> dict[str, str]:
    """An error of Postgres's as Redshift has it."""
    kept = {name: fields[name] for name in ("S", "C", "M") if name in fields}
    text = kept.get("M", "")
    if fields.get("C") == "40001":
        return {
            "S": "ERROR",
            "C": "XX000",
            "M": "1023",
            "D": "Serializable isolation violation on table in Redshift",
        }
    if fields.get("C") in ("23505", "XX000") and "pg_" in text + fields.get("t", ""):
        return {
            "S": "ERROR",
            "C": "XX000",
            "M": "could not complete because of conflict with concurrent transaction",
        }
    kept["M"] = re.sub(r"(permission denied for|must be owner of) (?:table|view)", r"\1 relation", text)
    return kept


def described(body: bytes) -> bytes:
    """The columns of a result, in Redshift's types."""
    out = bytearray(body[:2])
    (count,) = struct.unpack_from("!h", body)
    at = 2
    for _ in range(count):
        end = body.index(b"\0", at) + 1
        table, number, kind, size, modifier, form = struct.unpack_from("!ihihih", body, end)
        out += body[at:end] + struct.pack(
            "!ihihih", table, number, TYPES.get(kind, kind), size, modifier, form
        )
        at = end + 18
    return bytes(out)


def error(fields: dict[str, str]) -> bytes:
    """A message that says what went wrong."""
    return packed(b"E", b"".join(f"{name}{text}\0".encode() for name, text in fields.items()) + b"\0")


def packed(kind: bytes, body: bytes) -> bytes:
    """A message."""
    return kind + struct.pack("!i", len(body) + 4) + body


def exactly(source: socket.socket, size: int) -> bytes:
    """So many bytes; raises OSError where the connection ends before."""
    found = bytearray()
    while len(found) < size:
        data = source.recv(size - len(found))
        if not data:
            raise ConnectionError
        found += data
    return bytes(found)


def message(source: socket.socket) -> tuple[bytes, bytes]:
    """The next message: its kind and what it says."""
    head = exactly(source, 5)
    return head[:1], exactly(source, struct.unpack("!i", head[1:])[0] - 4)


def main(words: list[str]) -> Any:
    """Serve until standard input ends."""
    threading.Thread(target=Server(words[0], words[1]).run, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
