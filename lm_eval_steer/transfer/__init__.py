"""A vector carried from parent to child: texts that both read, their states, maps fitted on them, the file written."""
