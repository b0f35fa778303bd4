# A job that is sent again gets more memory for each time that it was killed, and more time for each time that its limit
# cut it and it has no state to go on from. One that ended with an error is not tried again (usfmae.progress.logged).
from snakemake.io import apply_wildcards
from snakemake.resources import Resource

from usfmae.attempts import before


def growing(log, name, base, cause):
    """A resource: `base`, and as much again for each earlier attempt that `cause` ended."""

    def value(wildcards, attempt):
        return base * (1 + before(apply_wildcards(log, wildcards), attempt)[cause])

    return Resource(name, value)


def grow_when_sent_again(jobs):
    for job in (job for job in jobs if job.log):
        causes = {"mem_mb": "killed"}
        if "checkpoints" not in dict(job.params.items()):
            causes["runtime"] = "stopped"
        for name, cause in causes.items():
            given = job.resources[name]
            if not given.is_evaluable():
                job.resources[name] = growing(str(job.log[0]), name, given.value, cause)


grow_when_sent_again(workflow.rules)
