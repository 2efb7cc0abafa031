// Loaded before libc: the first sync of a folder fails once the file $ALLEYCAT_TEST_FAIL_SYNC exists. It is removed.
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int fsync(int descriptor) {
    const char *trigger = getenv("ALLEYCAT_TEST_FAIL_SYNC");
    struct stat status;
    if (trigger && fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode) && unlink(trigger) == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fsync, descriptor);
}
