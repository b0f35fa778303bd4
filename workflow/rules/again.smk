# A job that is sent again gets more memory where it was killed, and more time where its time limit cut it and it has no
# state to go on from: for no other reason. One that ended with an error is not tried again (usfmae.progress.logged).
from snakemake.io import apply_wildcards
from snakemake.resources import Resource

from usfmae.attempts import ended


def growing(log, name, base, cause):
    """A resource: `base`, times the attempt where `cause` ended the one before."""

    def value(wildcards, attempt):
        again = attempt > 1 and ended(apply_wildcards(log, wildcards)) == cause
        return base * attempt if again else base

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
