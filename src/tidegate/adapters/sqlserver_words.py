"""Our own SQL as SQL Server understands it, where sqlglot leaves it as others do."""

from __future__ import annotations

from sqlglot import exp


def spoken(node: exp.Expression) -> exp.Expression:
    """NULLs where T-SQL sorts them, since DISTINCT allows no other order; texts that hold all; LIKE for ILIKE.

    The names of INFORMATION_SCHEMA in capitals, since a database may tell letters from capitals in names, too.
    """
    if node.parent is None:
        # What is replaced is not looked into again, so this is done from above.
        for each in reversed([*node.find_all(exp.Least, exp.Greatest)]):
            each.replace(_one_of(each))
        for each in [*node.find_all(exp.Extract)]:
            if each.name.upper() == "EPOCH":
                each.replace(_seconds(each.expression))
    if isinstance(node, exp.Select):
        table = node.find(exp.Table)
        if table is not None and table.db.lower() == "information_schema":
            columns = (column.this for column in node.find_all(exp.Column))
            for name in (*table.find_all(exp.Identifier), *columns):
                name.set("this", name.name.upper())
    if isinstance(node, exp.Ordered):
        node.set("nulls_first", not node.args.get("desc"))
    elif isinstance(node, exp.DataType) and node.this in (exp.DType.VARCHAR, exp.DType.TEXT):
        return exp.DataType.build("NVARCHAR(MAX)", dialect="tsql")
    elif isinstance(node, exp.ILike):
        return exp.Like(this=exp.Lower(this=node.this), expression=exp.Lower(this=node.expression))
    elif isinstance(node, exp.Literal) and node.is_string and not node.name.isascii():
        return exp.National(this=node.name)
    return node


def _one_of(node: exp.Func) -> exp.Expression:
    """LEAST and GREATEST, which came with SQL Server 2022 only; NULLs do not count."""
    assert node.find(exp.Placeholder) is None, "A parameter would be there more than once."
    found: exp.Expression = node.this
    for other in node.expressions:
        wins = (exp.LT if isinstance(node, exp.Least) else exp.GT)(this=found.copy(), expression=other.copy())
        has_none = exp.Is(this=other.copy(), expression=exp.Null())
        found = exp.Case().when(exp.or_(wins, has_none), found.copy()).else_(other.copy())
    return found


def _seconds(moment: exp.Expression) -> exp.Expression:
    """Whole seconds since 1970, as a number that may be divided."""
    start = exp.cast(exp.Literal.string("1970-01-01T00:00:00+00:00"), exp.DType.TIMESTAMPTZ)
    seconds = exp.Anonymous(this="DATEDIFF_BIG", expressions=[exp.var("SECOND"), start, moment.copy()])
    return exp.cast(seconds, exp.DType.DOUBLE)
