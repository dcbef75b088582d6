"""What every `JobExecutor` promises, as one body of tests.

::

    from harmony.conformance.executors import ExecutorSuite, Subject

    class TestMine(ExecutorSuite):
        @pytest.fixture
        def subject(self, tmp_path):
            return Subject(lambda: JobExecutor.get_instance("mine"), tmp_path)

`ends`: how jobs run and end. `following`: states, callbacks, attaching. `values`: that what is asked for arrives,
quoted once. `shapes`: processes and nodes, arrays, dependencies, staging.
"""

from harmony.conformance.executors.ends import Ends
from harmony.conformance.executors.following import Following
from harmony.conformance.executors.shapes import Shapes
from harmony.conformance.executors.subject import Subject
from harmony.conformance.executors.values import Values

__all__ = ["ExecutorSuite", "Subject"]


class ExecutorSuite(Ends, Following, Values, Shapes):
    """Every promise. A subclass gives a fixture ``subject``, which returns a new `Subject`."""

    conformance = "executors"
