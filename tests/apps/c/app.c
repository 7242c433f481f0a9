#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const char *path = getenv("PATH_INFO");
    char line[256];
    printf("Content-Type: text/plain\r\n\r\nHello from C, %s\n", path ? path : "");
    while (fgets(line, sizeof line, stdin))
        fputs(line, stdout);
    return 0;
}
