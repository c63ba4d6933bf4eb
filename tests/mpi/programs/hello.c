#include <mpi.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    int rank, size, sum, node; static char big[1 << 20];
    MPI_Comm near; char name[MPI_MAX_PROCESSOR_NAME]; int length;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank); MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (!rank) memset(big, 7, sizeof big);
    MPI_Bcast(big, sizeof big, MPI_CHAR, 0, MPI_COMM_WORLD);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &near);
    MPI_Comm_size(near, &node); MPI_Get_processor_name(name, &length);
    printf("%d %d %d %d\n", rank, size, sum == size * (size - 1) / 2 && big[sizeof big - 1] == 7, node);
    MPI_Finalize();
    return 0;
}
