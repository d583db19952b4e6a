"""Vision tasks: data, loss and metrics behind :class:`lwdna.engine.task.Task`."""
