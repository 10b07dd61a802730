"""Every warehouse but the embedded one: how to sign in, write fast and read back, one adapter each.

An adapter's module brings its driver along, so it is imported when a warehouse of its kind is opened
(`warehouse.open_warehouse`). What is decided about rows is decided in `warehouse`, for all of them alike.
"""
