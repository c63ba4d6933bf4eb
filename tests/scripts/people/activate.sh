conda() { case $1 in activate) CONDA_DEFAULT_ENV=$2 ;; deactivate) unset CONDA_DEFAULT_ENV ;; esac; }
