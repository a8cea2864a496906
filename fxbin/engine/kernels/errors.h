/* The text of the last error of each thread. */
#ifndef FXBIN_ERRORS_H
#define FXBIN_ERRORS_H

/** Note the text, as printf would write it, and return `status`. */
__attribute__((format(printf, 2, 3))) int fail(int status, const char *format, ...);

#endif
