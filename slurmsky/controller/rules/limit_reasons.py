"""Tables of QOS and association limits: field, counted jobs, pending reasons."""

from __future__ import annotations

from collections.abc import Mapping

from ...language import tres

KINDS = (*tres.ORDER, "gres", "license")

#: limits of sizes in the order of the checks: field -> reasons for a QOS, reasons for an account; by KINDS
SIZES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "grp_tres": (
        ("QOSGrpCpuLimit", "QOSGrpMemLimit", "QOSGrpNodeLimit", "QOSGrpBilling", "QOSGrpGRES", "QOSGrpLicense"),
        ("AssocGrpCpuLimit", "AssocGrpMemLimit", "AssocGrpNodeLimit", "AssocGrpBilling", "AssocGrpGRES",
         "AssocGrpLicense"),
    ),
    "max_tres_mins": (
        ("QOSMaxCpuMinutesPerJobLimit", "QOSMaxMemoryMinutesPerJob", "QOSMaxNodeMinutesPerJob",
         "QOSMaxBillingMinutesPerJob", "QOSMaxGRESMinutesPerJob", "QOSMaxLicenseMinutesPerJob"),
        ("AssocMaxCpuMinutesPerJobLimit", "AssocMaxMemMinutesPerJob", "AssocMaxNodeMinutesPerJob",
         "AssocMaxBillingMinutesPerJob", "AssocMaxGRESMinutesPerJob", "AssocMaxLicenseMinutesPerJob"),
    ),
    "max_tres": (
        ("QOSMaxCpuPerJobLimit", "QOSMaxMemoryPerJob", "QOSMaxNodePerJobLimit", "QOSMaxBillingPerJob",
         "QOSMaxGRESPerJob", "QOSMaxLicensePerJob"),
        ("AssocMaxCpuPerJobLimit", "AssocMaxMemPerJob", "AssocMaxNodePerJobLimit", "AssocMaxBillingPerJob",
         "AssocMaxGRESPerJob", "AssocMaxLicensePerJob"),
    ),
    "max_tres_per_node": (
        ("QOSMaxCpuPerNode", "QOSMaxMemoryPerNode", "", "QOSMaxBillingPerNode", "QOSMaxGRESPerNode", ""),
        ("AssocMaxCpuPerNode", "AssocMaxMemPerNode", "", "AssocMaxBillingPerNode", "AssocMaxGRESPerNode", ""),
    ),
    "min_tres": (
        ("QOSMinCpuNotSatisfied", "QOSMinMemory", "QOSMinNode", "QOSMinBilling", "QOSMinGRES", "QOSMinLicense"),
        (),
    ),
    "max_tres_per_account": (
        ("MaxCpuPerAccount", "MaxMemoryPerAccount", "MaxNodePerAccount", "MaxBillingPerAccount",
         "MaxGRESPerAccount", "MaxLicensePerAccount"),
        (),
    ),
    "max_tres_per_user": (
        ("QOSMaxCpuPerUserLimit", "QOSMaxMemoryPerUser", "QOSMaxNodePerUserLimit", "QOSMaxBillingPerUser",
         "QOSMaxGRESPerUser", "QOSMaxLicensePerUser"),
        (),
    ),
}  # fmt: skip
#: limits of numbers: field -> counted jobs, reason for a QOS, for an account
RUNNING = {
    "grp_jobs": ("", "QOSGrpJobsLimit", "AssocGrpJobsLimit"),
    "max_jobs_per_account": ("account", "MaxJobsPerAccount", ""),
    "max_jobs_per_user": ("user", "QOSMaxJobsPerUserLimit", "AssocMaxJobsLimit"),
}
SUBMITTED = {
    "grp_submit_jobs": ("", "QOSGrpSubmitJobsLimit", "AssocGrpSubmitJobsLimit"),
    "max_submit_jobs_per_account": ("account", "MaxSubmitJobsPerAccount", ""),
    "max_submit_jobs_per_user": ("user", "QOSMaxSubmitJobPerUserLimit", "AssocMaxSubmitJobLimit"),
}
#: GrpTRESMins and GrpWall, of a QOS and of an association; the first by KINDS
USAGE = (
    ("QOSGrpCPUMinutesLimit", "QOSGrpMemoryMinutes", "QOSGrpNodeMinutes", "QOSGrpBillingMinutes"),
    ("AssocGrpCPUMinutesLimit", "AssocGrpMemMinutes", "AssocGrpNodeMinutes", "AssocGrpBillingMinutes"),
)
USAGE_WALL = ("QOSGrpWallLimit", "AssocGrpWallLimit")
WALL = ("QOSMaxWallDurationPerJobLimit", "AssocMaxWallDurationPerJobLimit")
#: limits of a sum of jobs, and the jobs that are summed; the other limits concern one job
SHARED = {"grp_tres": "", "max_tres_per_account": "account", "max_tres_per_user": "user"}
#: limits that waiting does not help: DenyOnLimit checks these
EVER = ("grp_tres", "max_tres_mins", "max_tres", "max_tres_per_node", "min_tres", "max_tres_per_account",
         "max_tres_per_user")  # fmt: skip
#: field -> the limit in words, and the amount that exceeds it, for slurmsky why
SENTENCES = {
    "grp_jobs": ("limits its running jobs to {most}", "with this job {have} would run"),
    "max_jobs_per_account": ("limits running jobs of an account to {most}", "with this job {have} would run"),
    "max_jobs_per_user": ("limits running jobs of a user to {most}", "with this job {have} would run"),
    "grp_wall_min": ("limits the elapsed minutes of all its jobs to {most}", "used or requested: {have}"),
    "max_wall_min": ("limits the minutes of a job to {most}", "this job requests {have}"),
    "grp_tres": ("limits {unit} of all its jobs to {most}", "with this job they would hold {have}"),
    "grp_tres_mins": ("limits the minutes of {unit} of all its jobs to {most}", "used or requested: {have}"),
    "max_tres_mins": ("limits the minutes of {unit} of a job to {most}", "this job requests {have}"),
    "max_tres": ("limits {unit} of a job to {most}", "this job requests {have}"),
    "max_tres_per_node": ("limits {unit} of a job on a node to {most}", "this job requests {have}"),
    "min_tres": ("requires {unit} of a job to be at least {most}", "this job requests {have}"),
    "max_tres_per_account": ("limits {unit} of an account to {most}", "with this job it would hold {have}"),
    "max_tres_per_user": ("limits {unit} of a user to {most}", "with this job the user would hold {have}"),
}
#: noun of an amount of a resource; gres/NAME and license/NAME keep their names
UNITS = {"cpu": "CPUs", "mem": "MiB of memory", "node": "nodes", "billing": "billing units", "gres/gpu": "GPUs"}
