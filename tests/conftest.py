"""What all tests share."""

from hypothesis import settings

# The same examples in every run, so that a failure belongs to the change that it is shown for.
# Others are looked for with: pytest --hypothesis-profile random
settings.register_profile("fixed", derandomize=True)
settings.register_profile("random", print_blob=True)
settings.load_profile("fixed")
