"""Command lines of other programs, their jobs and parsed values.

Sources: README.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One line.

    {name} is the id of the job of that name in JOBS, {user} the caller.

    `reads` are (regular expression searched in one line of stdout, its groups); `code` the exit code.
    """

    project: str
    line: str
    reads: tuple[tuple[str, tuple[str, ...]], ...] = ()
    code: int = 0
    shape: str = ""  # every line of stdout matches this in full
    skip: int = 0  # lines of stdout before that, the header
    stderr: str | None = None  # found in stderr


#: Jobs that the questions are about: how each is submitted. They exist once per session.
JOBS = {
    "running": "sbatch -J asked -t 1:00:00 -c 2 --wrap 'sleep 600'",
    "held": "sbatch -J kept -H --wrap true",
    "waiting": "sbatch -J after -d afterok:{running} --wrap true",
    "done": "sbatch -J good -o good.out --wrap true",
    "failed": "sbatch -J bad -o bad.out --wrap 'exit 3'",
    "killed": "sbatch -J gone --wrap 'sleep 600'",
    "gpus": "sbatch -J devices -n 1 --gres=gpu:h100:2 --wrap 'sleep 600'",
    "array": "sbatch -J many -a 1-2 -o many-%a.out --wrap true",
    "het": "sbatch -J role-0 -o het.out --wrap 'srun true : true' -n1 : -J role-1 -n1",
}

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
_AIIDA = "^^^".join(["%i", "%t", "%r", "%B", "%u", "%D", "%C", "%R", "%P", "%l", "%M", "%S", "%j", "%V"])
_AIIDA_LINE = f"SLURM_TIME_FORMAT='standard' squeue --noheader -o '{_AIIDA}' --jobs="
_SEP = r"\^\^\^"
_STATES = "PD|R|CA|CF|CG|CD|F|TO|NF|S|ST|PR|BF"

_ONDEMAND = ";".join("%" + letter for letter in "aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOqPQrStTuUvVwWxXyYzZ")

QUESTIONS = (
    # Nextflow: two words per line, the second a key of its table
    Question("nextflow", "squeue --noheader -o '%i %t' -t all -u {user}",
             (("^{running} (.*)", ("R",)), ("^{held} (.*)", ("PD",)), ("^{done} (.*)", ("CD",)),
              ("^{failed} (.*)", ("F",)), ("^{killed} (.*)", ("CA",))), shape=rf"\S+ ({_STATES})"),
    Question("nextflow", "squeue --noheader -o '%i %t' -t all -p debug -u {user}",
             (("^{running} (.*)", ("R",)),), shape=rf"\S+ ({_STATES})"),
    Question("nextflow", "squeue --noheader -o '%i %t' -t all -p gpu -u {user}"),
    # AiiDA: fourteen fields; one id requested twice, because two ids never make squeue fail
    Question("aiida", _AIIDA_LINE + "{running},{running}", ((_SEP.join((
        "^({running})", "(R)", "(None)", r"(n\d)", "({user})", "(1)", "(2)", r"(n\d)", "(debug)", "(1:00:00)",
        r"[\d:]+", _TIME, "(asked)", _TIME)) + "$", ()),)),
    Question("aiida", _AIIDA_LINE + "{held},{waiting}", (
        (_SEP.join(("^{held}", "(PD)", "(JobHeldUser)", "(n/a)", "{user}", "(1)", "(1)", r"(\(JobHeldUser\))",
                    "debug", "(UNLIMITED|1-00:00:00)", "(0:00)", "(N/A)", "kept", _TIME)) + "$", ()),
        (f"^{{waiting}}{_SEP}PD{_SEP}(.*?){_SEP}", ("Dependency",)))),
    Question("aiida", _AIIDA_LINE + "999999,999999", shape="(?!)"),
    Question("aiida", "sacct --format=$(sacct --helpformat | tr -s '\\n' ' ' | tr ' ' ',') --parsable --jobs={done}",
             ((r"\|({done})\|", ("{done}",)), (r"^Account\|.*\|JobID\|.*\|State\|.*\|$", ()))),
    # torchx: the default fields; a het component is ID+N, its name ROLE-N
    Question("torchx", "sacct --parsable2 -j {het}",
             (("^JobID\\|JobName\\|.*\\|(State)\\|ExitCode$", ("State",)),
              (r"^{het}\+0\|role-0\|.*\|(COMPLETED)\|0:0$", ("COMPLETED",)),
              (r"^{het}\+1\|role-1\|.*\|(COMPLETED)\|0:0$", ("COMPLETED",)))),
    # NeMo-Run
    Question("nemo-run", "sacct --parsable2 -j {killed}",
             ((r"^{killed}\|gone\|.*\|(CANCELLED)[^|]*\|", ("CANCELLED",)),)),
    Question("nemo-run", "sacct --json -S1970-01-01-00:00:01", ((r'"job_id": ({done})\b', ("{done}",)),)),
    # batchspawner: state and node
    Question("batchspawner", "squeue -h -j {running} -o '%T %B'",
             (("^(?:RUNNING|COMPLETING)", ()), (r"\s+((?:[\w_-]+\.?)+)$", ("n1",)))),
    Question("batchspawner", "squeue -h -j {held} -o '%T %B'", (("^(?:PENDING|CONFIGURING)", ()),)),
    # Parsl: --job is --jobs cut short, its list the next word
    Question("parsl", "squeue --noheader --format='%i %t' --job '{running},{held}'",
             (("^{running} (.*)$", ("R",)), ("^{held} (.*)$", ("PD",))), shape=r"\d+ \S+"),
    # PSI/J: a header, then three words; the reason is one of its table
    Question("psij", "squeue -O JobArrayID,StateCompact,Reason -t all -j {running},{done},{failed},{held}",
             ((r"^{running}\s+(\S+)\s+(\S+)\s*$", ("R", "None")), (r"^{done}\s+(\S+)\s+(\S+)\s*$", ("CD", "None")),
              (r"^{failed}\s+(\S+)\s+(\S+)\s*$", ("F", "NonZeroExitCode")),
              (r"^{held}\s+(\S+)\s+(\S+)\s*$", ("PD", "JobHeldUser"))), shape=r"\d+\s+\S+\s+\S+\s*", skip=1),
    # Toil: words between single blanks
    Question("toil", "sinfo -a -o '%P %G %l %p %c %m'",
             ((r"^(\S+) (\S+) (\S+) (\S+) (\S+) (\S+)$", ("PARTITION", "GRES", "TIMELIMIT", "PRIO_TIER",
                                                         "CPUS", "MEMORY")),
              (r"^(debug\*) (\S+) (\S+) (\S+) (\S+) (\S+)$", ("debug*", "gpu:h100:4", "infinite", "1", "8", "4000")),
              (r"^gpu \S+ (\S+) ", ("1-00:00:00",))), shape=r"(\S+ ){5}\S+"),
    Question("toil", "squeue -h --format '%i %t %M'", ((r"^{running} (\S+) [\d:-]+$", ("R",)),)),
    Question("toil", "sacct -n -j {done},{failed},{killed},{running} --format JobIDRaw,State,ExitCode -P -S 1970-01-01",
             ((r"^{done}\|(.*)\|(.*)$", ("COMPLETED", "0:0")), (r"^{failed}\|(.*)\|(.*)$", ("FAILED", "3:0")),
              (r"^{killed}\|(CANCELLED) by \d+\|(.*)$", ("CANCELLED", "0:0")),
              (r"^{running}\|(.*)\|(.*)$", ("RUNNING", "0:0")))),
    Question("toil", "scontrol show job {failed}",
             ((r"^JobId=(\d+) ", ("{failed}",)), (r"\bJobState=(\S+)", ("FAILED",)), (r"\bExitCode=(\S+)", ("3:0",)))),
    # Cromwell: alive while squeue exits with 0
    Question("cromwell", "squeue -j {running}", ((r"^\s*({running})\s", ("{running}",)),)),
    Question("cromwell", "squeue -j 999999", code=1, stderr="slurm_load_jobs error: Invalid job id specified"),
    # Snakemake's profile: ID|STATE|CODE, and scontrol where there is no accounting
    Question("snakemake-profile", "sacct -P -b -j {failed} -n", ((r"^{failed}\|(\w+)\|", ("FAILED",)),)),
    Question("snakemake-profile", "sacct -P -b -j {array} -n",
             ((r"^{array}_1\|(\w+)\|", ("COMPLETED",)), (r"^{array}_2\|(\w+)\|", ("COMPLETED",)))),
    Question("snakemake-profile", "scontrol -o show job {done}", ((r"JobState=(\w+)", ("COMPLETED",)),
                                                                  (r"Requeue=(\w+)", ("1",)))),
    # Open OnDemand: the cluster named in each call, two lines of head, fields between semicolons
    Question("ondemand", "squeue -M oracle --all --states=all --noconvert -o '%A;%i;%t' -j {array}",
             ((r"^\d+;({array}_\d);(\w+)$", ("{array}_1", "CD")), ("^CLUSTER: (.*)$", ("oracle",))),
             shape=rf"\d+;{{array}}_\d;({_STATES})".replace("{array}", r"\d+"), skip=2),
    Question("ondemand", f"squeue -M oracle --all --states=all --noconvert -o '{_ONDEMAND}' -j {{running}}",
             (("^[^;]*;{running};" + "[^;]*;" * 46 + "[^;]*$", ()),), shape="([^;]*;){48}[^;]*", skip=2),
    Question("ondemand", "squeue -M oracle --all --states=all --noconvert -o '%A;%i;%t' -j 999999", code=1,
             stderr="Invalid job id specified"),
    # reportseff: fields by their names, after it has asked which there are
    Question("reportseff", "sacct --helpformat", ((r"\b(TRESUsageInMax|TotalCPU)\b", ()),)),
    Question("reportseff", "sacct --parsable -n '--delimiter=^|^' --format=AdminComment,AllocCPUS,Elapsed,JobID,"
             "JobIDRaw,MaxRSS,NNodes,NTasks,REQMEM,State,Timelimit,TotalCPU --jobs={done}",
             ((r"^\^\|\^1\^\|\^\d\d:\d\d:\d\d\^\|\^{done}\^\|\^{done}\^.*\^\|\^(COMPLETED)\^\|\^", ("COMPLETED",)),),
             shape=r"(.*?\^\|\^){12}"),
    # ReFrame: a flexible test looks for nodes, each on one line; the state of ended jobs, and why others wait
    Question("reframe", "scontrol -a show -o nodes", (
        (r"NodeName=(\S+).*\bState=(\S+).*\bPartitions=(\S+)", ("n4", "IDLE", "debug,gpu")),), shape="NodeName=.*"),
    Question("reframe", "scontrol -a show -o partitions", ((r"PartitionName=(\S+).*\bDefault=(\S+)", ("debug", "YES")),
                                                           (r"PartitionName=(\S+).*\bNodes=(\S+)", ("gpu", "n[3-4]")))),
    Question("reframe", "sacct -S 2026-01-01 -P -j {failed},{het} -o jobid,state,exitcode,end,nodelist",
             ((r"^{failed}\|(\S+)\|(\d+):(\d+)\|" + _TIME + r"\|n\d$", ("FAILED", "3", "0")),
              (r"^({het})\+1\|COMPLETED\|", ("{het}",)))),
    Question("reframe", "squeue -h -j {held},{running} -o '%i|%T|%N|%r'",
             (("^{held}\\|PENDING\\|\\|(.*)$", ("JobHeldUser",)), ("^{running}\\|RUNNING\\|n\\d\\|(.*)$", ("None",)))),
    # slurm_gpustat: who holds GPUs, and of which kind
    Question("slurm_gpustat", "squeue -O tres-per-node:100,nodelist:100,username:100,jobid:100 --noheader",
             ((r"^gres[:/]gpu:h100:(2)\s+n\d\s+{user}\s+({gpus})\s*$", ("2", "{gpus}")),)),
    Question("slurm_gpustat", "scontrol show jobid -dd {gpus}", ((r"JOB_GRES=gpu:(\w+):2", ("h100",)),)),
    Question("slurm_gpustat", "sinfo -o '%1000N|%1000G' --noheader", ((r"^n\[1-4\]\s*\|gpu:h100:4\s*$", ()),)),
    # ClusterShell's groups
    Question("clustershell", "sinfo -h -o %N -p gpu", ((r"^n\[3-4\]$", ()),)),
    Question("clustershell", "sinfo -h -o %R:%N", (("^debug:n\\[1-4\\]$", ()), ("^gpu:n\\[3-4\\]$", ()))),
    Question("clustershell", "sinfo -h -N -o %R -n n4", (("^gpu$", ()),), shape="debug|gpu"),
    Question("clustershell", "squeue -h -o %i:%N -t R", ((r"^{running}:(n\d)$", ()),)),
    Question("clustershell", "squeue -h -o %u -t R", shape="{user}".replace("{user}", r"\w+")),
    # QToolKit (jobflow-remote): one job as key=value words
    Question("qtoolkit", "SLURM_TIME_FORMAT='standard' scontrol show job -o {held}",
             ((r"\bJobState=(\w+)", ("PENDING",)), (r"\bNumNodes=(\S+)", ("1-1",)),
              (r"\bPartition=(\w+)", ("debug",)))),
    # Prometheus' exporter
    Question("slurm-exporter", "sinfo -h -N -O NodeList,AllocMem,Memory,CPUsState,Gres,StateLong",
             ((r"^n4\s+(\d+)\s+4000\s+\d+/\d+/0/8\s+(\S+)\s+\w+\s*$", ("0", "gpu:h100:4")),)),
    Question("slurm-exporter", "squeue -a -r -h -o %P,%T,%C,%r,%u",
             (("^debug,PENDING,1,(Dependency),", ("Dependency",)),)),
    Question("slurm-exporter", "sdiag", ((r"^Server thread count: +(\d+)$", ()), (r"^DBD Agent queue size: (\d+)$", ()),
                                         (r"^\tLast cycle: +(\d+)$", ()), (r"^\tMean cycle: +(\d+)$", ()))),
    Question("slurm-exporter", "sshare -n -P -o account,fairshare", ((r"^ +\w+\|\d\.\d+$", ()),)),
)  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """A job as a program submits it: output, effect, and how the program reads the id."""

    project: str
    line: str  # {script} is the file
    script: str
    reads: str  # regular expression with the group `id`, searched in stdout
    output: str  # file, %j is the id
    wrote: str  # regular expression of the whole file
    stdin: bool = False  # the script goes to stdin


_SUBMITTED = r"Submitted batch job (?P<id>\d+)"
_PARSABLE = r"\A(?P<id>\d+)(;\w+)?\Z"

SUBMISSIONS = (
    Submission("nextflow", "sbatch {script}", """#!/bin/bash
#SBATCH -J nf-SAY_(1)
#SBATCH -o {dir}/.command.log
#SBATCH --no-requeue
#SBATCH --signal B:USR2@30
#SBATCH -c 2
#SBATCH -t 01:00:00
#SBATCH --mem 1024M
#SBATCH -p debug
# NEXTFLOW TASK: SAY (1)
echo $SLURM_JOB_NAME $SLURM_CPUS_PER_TASK $SLURM_JOB_PARTITION
""", _SUBMITTED, "{dir}/.command.log", r"nf-SAY_\(1\) 2 debug\n"),
    Submission("nextflow with fusion", "sbatch", "#!/bin/bash\n#SBATCH -o {dir}/fusion.log\n#SBATCH --no-requeue\n"
               "echo from stdin\n", _SUBMITTED, "{dir}/fusion.log", "from stdin\n", stdin=True),
    Submission("aiida", "sbatch '{script}'", """#!/bin/bash
#SBATCH --no-requeue
#SBATCH --job-name="aiida-42"
#SBATCH --get-user-env
#SBATCH --output=_scheduler-stdout.txt
#SBATCH --error=_scheduler-stderr.txt
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --time=00:30:00
#SBATCH --mem=500

echo $SLURM_JOB_NAME $SLURM_NTASKS
""", r"(.*:\s*)?([Gg]ranted job allocation|[Ss]ubmitted batch job)\s+(?P<id>\d+)", "{dir}/_scheduler-stdout.txt",
               "aiida-42 2\n"),
    Submission("torchx", "sbatch --parsable --comment=hello {script}", """#!/bin/bash
#SBATCH --job-name=trainer-0 --ntasks-per-node=1 --cpus-per-task=1
#SBATCH hetjob
#SBATCH --job-name=trainer-1 --ntasks-per-node=1 --cpus-per-task=1

# exit on error
set -e

export PYTHONUNBUFFERED=1
export SLURM_UNBUFFEREDIO=1

srun --output=slurm-"$SLURM_JOB_ID"-trainer-0.out --export=ALL,RANK=0 sh -c 'echo $RANK' :\\
     --output=slurm-"$SLURM_JOB_ID"-trainer-1.out --export=ALL,RANK=1 sh -c 'echo $RANK'
""", _PARSABLE, "{dir}/slurm-%j-trainer-1.out", "1\n"),
    Submission("nemo-run", "sbatch --requeue --parsable --dependency=afterany:{done} {script}", """#!/bin/bash
#SBATCH --account=research
#SBATCH --job-name=research-nemo.run
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output={dir}/sbatch_research_%j.out
#SBATCH --partition=debug
#SBATCH --time=00:10:00

set -evx
export PYTHONUNBUFFERED=1
nodes=( $( scontrol show hostnames $SLURM_JOB_NODELIST ) )
head_node=${{nodes[0]}}
srun --output {dir}/log-%j_${{SLURM_RESTART_COUNT:-0}}.out --nodes=1 --ntasks=1 -w "$head_node" --wait=60 \\
     --kill-on-bad-exit=1 bash -c 'echo $SLURM_JOB_NUM_NODES'
""", _PARSABLE, "{dir}/log-%j_0.out", "2\n"),
    Submission("batchspawner", "sbatch --parsable", """#!/bin/bash
#SBATCH --output={dir}/jupyterhub_slurmspawner_%j.log
#SBATCH --job-name=spawner-jupyterhub
#SBATCH --chdir={dir}
#SBATCH --export=PATH,LANG,JUPYTERHUB_API_TOKEN
#SBATCH --get-user-env=L
#SBATCH --time=1:00:00

set -euo pipefail
trap 'echo SIGTERM received' TERM
srun env | grep -c '^JUPYTERHUB_API_TOKEN='
echo "jupyterhub-singleuser ended gracefully"
""", _PARSABLE, "{dir}/jupyterhub_slurmspawner_%j.log", "1\njupyterhub-singleuser ended gracefully\n", stdin=True),
    Submission("parsl", "sbatch {script}", """#!/bin/bash

#SBATCH --job-name=parsl.slurm.1700000000.5
#SBATCH --output={dir}/parsl.stdout
#SBATCH --error={dir}/parsl.stderr
#SBATCH --nodes=1
#SBATCH --time=10
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive

export JOBNAME="parsl"
echo $SLURM_CPUS_ON_NODE
""", r"^Submitted batch job (?P<id>\S*)", "{dir}/parsl.stdout", "8\n"),
    Submission("psij", "sbatch {script}", """#!/bin/bash

#SBATCH --job-name=psij
#SBATCH --chdir={dir}
#SBATCH --exclusive
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --time=0:10:0
#SBATCH -o {dir}/psij.out
#SBATCH -e {dir}/psij.err

PSIJ_NODEFILE="{dir}/nodefile"
scontrol show hostnames >"$PSIJ_NODEFILE"
cat "$PSIJ_NODEFILE"
""", r"(?P<id>\d+)$", "{dir}/psij.out", r"n\d\n"),
    Submission("toil", "sbatch -J toil_job_1_say --signal=B:INT@30 --export=ALL,TOIL=1 --mem=512 --cpus-per-task=1 "
               "--time=0:3600 --output={dir}/toil.out --error={dir}/toil.err '--wrap=exec sh -c \"echo $TOIL\"'", "",
               r"(?P<id>\d+)$", "{dir}/toil.out", "1\n"),
    Submission("cromwell", "sbatch -J cromwell_1 -D {dir} -o {dir}/stdout -e {dir}/stderr -t 600 -p debug -c 2 "
               "--mem-per-cpu=500 --wrap \"/bin/bash {script}\"", "echo $SLURM_CPUS_PER_TASK\n",
               r"Submitted batch job (?P<id>\d+).*", "{dir}/stdout", "2\n"),
    Submission("snakemake", "sbatch --parsable --job-name 1b8f --output {dir}/%j.log --export=ALL --comment rule_a "
               "-p debug -t 5 --mem 100 --ntasks=1 --cpus-per-task=1 -D {dir} /dev/stdin",
               "#!/bin/sh\necho from a pipe\n", _PARSABLE, "{dir}/%j.log", "from a pipe\n", stdin=True),
)  # fmt: skip

#: How they cancel; {victim} is a job of its own that must be gone from the queue then.
CANCELS = (
    ("nextflow", "scancel {victim} {other}"),
    ("aiida", "scancel {victim}"),
    ("psij", "scancel -Q {victim}"),
    ("parsl", "scancel {victim} {other}"),
)
