"""Any environment of the PettingZoo parallel API as an environment of this package, in worker processes.

``environment.py`` is the class that a config file names; ``pool.py`` starts and watches the workers, ``worker.py`` is
what runs in one, ``row.py`` plays the episodes of one row, ``answers.py`` checks what comes back and ``codec.py`` turns
dictionaries into arrays and back.
Workers import neither torch nor PettingZoo itself, only what the environment's own module imports.
"""
