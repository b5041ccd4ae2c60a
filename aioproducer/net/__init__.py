"""The shell: tasks, sockets, clocks and dice."""
