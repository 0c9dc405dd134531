/* A stub of the CANN libraries that torch_npu is linked with: device memory is host memory, streams and events are
 * empty, no kernel is ever launched.  With it the real torch_npu package imports, allocates and copies on a machine
 * without an NPU; nothing is computed (stub_kernels.py lends it the CPU's kernels).
 *
 * One library stands for all: build.sh gives it the names that the loader asks for.  CANN_STUB_TRACE=1 in the
 * environment prints each function that is called and only says "done".
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DONE = 0, FAILED = 1, ALIGNMENT = 512, FINISHED = 1 };
static const size_t MEMORY = (size_t)4 << 30; /* bytes that the stub device says it has */

static int done(const char *name) {
    static int traced = -1;
    if (traced < 0) traced = getenv("CANN_STUB_TRACE") != NULL;
    if (traced) fprintf(stderr, "[CANN stub] %s\n", name);
    return DONE;
}

/* ---- functions whose caller wants to hear that it went well, and no more */

#define SAYS_DONE(name) int name(void) { return done(#name); }

SAYS_DONE(MsprofGetHashId)
SAYS_DONE(MsprofRegisterCallback)
SAYS_DONE(MsprofReportAdditionalInfo)
SAYS_DONE(MsprofReportApi)
SAYS_DONE(MsprofReportCompactInfo)
SAYS_DONE(MsprofSysCycleTime)
SAYS_DONE(aclAppLog)
SAYS_DONE(aclFinalize)
SAYS_DONE(aclGetDeviceCapability)
SAYS_DONE(aclGetTensorDescDimV2)
SAYS_DONE(aclGetTensorDescFormat)
SAYS_DONE(aclGetTensorDescNumDims)
SAYS_DONE(aclGetTensorDescType)
SAYS_DONE(aclInit)
SAYS_DONE(aclSetCompileopt)
SAYS_DONE(aclSetTensorDescName)
SAYS_DONE(aclSetTensorFormat)
SAYS_DONE(aclSetTensorPlaceMent)
SAYS_DONE(aclSetTensorShape)
SAYS_DONE(aclmdlFinalizeDump)
SAYS_DONE(aclmdlInitDump)
SAYS_DONE(aclmdlSetDump)
SAYS_DONE(aclopCompileAndExecute)
SAYS_DONE(aclopSetAttrBool)
SAYS_DONE(aclopSetAttrDataType)
SAYS_DONE(aclopSetAttrFloat)
SAYS_DONE(aclopSetAttrInt)
SAYS_DONE(aclopSetAttrListBool)
SAYS_DONE(aclopSetAttrListFloat)
SAYS_DONE(aclopSetAttrListInt)
SAYS_DONE(aclopSetAttrListListInt)
SAYS_DONE(aclopSetAttrString)
SAYS_DONE(aclrtBinaryGetFunction)
SAYS_DONE(aclrtBinaryLoadFromData)
SAYS_DONE(aclrtDeviceEnablePeerAccess)
SAYS_DONE(aclrtDeviceGetBareTgid)
SAYS_DONE(aclrtFreePhysical)
SAYS_DONE(aclrtGetFunctionAddr)
SAYS_DONE(aclrtMallocPhysical)
SAYS_DONE(aclrtMapMem)
SAYS_DONE(aclrtMemExportToShareableHandle)
SAYS_DONE(aclrtMemImportFromShareableHandle)
SAYS_DONE(aclrtMemSetPidToShareableHandle)
SAYS_DONE(aclrtProcessReport)
SAYS_DONE(aclrtRecordEvent)
SAYS_DONE(aclrtReleaseMemAddress)
SAYS_DONE(aclrtReserveMemAddress)
SAYS_DONE(aclrtResetDevice)
SAYS_DONE(aclrtResetEvent)
SAYS_DONE(aclrtSetCurrentContext)
SAYS_DONE(aclrtSetDevice)
SAYS_DONE(aclrtSetDeviceSatMode)
SAYS_DONE(aclrtSetOpExecuteTimeOut)
SAYS_DONE(aclrtSetSysParamOpt)
SAYS_DONE(aclrtCtxSetSysParamOpt)
SAYS_DONE(aclrtStreamWaitEvent)
SAYS_DONE(aclrtSynchronizeDevice)
SAYS_DONE(aclrtSynchronizeEvent)
SAYS_DONE(aclrtSynchronizeStream)
SAYS_DONE(aclrtSynchronizeStreamWithTimeout)
SAYS_DONE(aclrtUnmapMem)
SAYS_DONE(rtDevBinaryRegister)
SAYS_DONE(rtFunctionRegister)
SAYS_DONE(rtGetC2cCtrlAddr)
SAYS_DONE(rtKernelLaunch)

/* ---- memory */

static int allocate(void **place, size_t size) {
    return posix_memalign(place, ALIGNMENT, size + ALIGNMENT) ? FAILED : DONE;
}

int aclrtMalloc(void **place, size_t size, int policy) { (void)policy; return allocate(place, size); }
int aclrtMallocAlign32(void **place, size_t size, int policy) { (void)policy; return allocate(place, size); }
int aclrtMallocHost(void **place, size_t size) { return allocate(place, size); }
int aclrtFree(void *place) { free(place); return DONE; }
int aclrtFreeHost(void *place) { free(place); return DONE; }

int aclrtMemcpy(void *to, size_t room, const void *from, size_t size, int kind) {
    (void)kind;
    if (size > room) return FAILED;
    memmove(to, from, size);
    return DONE;
}

int aclrtMemcpyAsync(void *to, size_t room, const void *from, size_t size, int kind, void *stream) {
    (void)stream;
    return aclrtMemcpy(to, room, from, size, kind);
}

int aclrtMemset(void *to, size_t room, int value, size_t size) {
    if (size > room) return FAILED;
    memset(to, value, size);
    return DONE;
}

int aclrtGetMemInfo(int kind, size_t *available, size_t *total) {
    (void)kind;
    *available = *total = MEMORY;
    return DONE;
}

/* ---- the device */

const char *aclGetRecentErrMsg(void) { return "CANN stub: no device is here"; }
const char *aclrtGetSocName(void) { return "Ascend910B1"; } /* torch_npu takes names that it knows alone */
int aclrtGetDevice(int *device) { *device = 0; return DONE; }
int aclrtGetDeviceCount(unsigned *count) { *count = 1; return DONE; }
int aclrtGetUserDevIdByLogicDevId(int logical, int *user) { *user = logical; return DONE; }
int aclrtDeviceCanAccessPeer(int *can, int from, int to) { (void)from; (void)to; *can = 0; return DONE; }
int aclrtGetSysParamOpt(int option, long *value) { (void)option; *value = 0; return DONE; }
int aclrtCtxGetSysParamOpt(int option, long *value) { (void)option; *value = 0; return DONE; }

int aclrtGetCurrentContext(void **context) {
    static int only;
    *context = &only;
    return DONE;
}

/* ---- streams and events: everything has happened when its call returns */

static int make(void **thing) {
    *thing = calloc(1, sizeof(long));
    return *thing ? DONE : FAILED;
}

static int drop(void *thing) { free(thing); return DONE; }

int aclrtCreateStream(void **stream) { return make(stream); }
int aclrtCreateStreamWithConfig(void **stream, unsigned priority, unsigned flag) {
    (void)priority; (void)flag;
    return make(stream);
}
int aclrtDestroyStream(void *stream) { return drop(stream); }
int aclrtDestroyStreamForce(void *stream) { return drop(stream); }
int aclrtStreamQuery(void *stream, int *status) { (void)stream; *status = FINISHED; return DONE; }
int aclrtCreateEventWithFlag(void **event, unsigned flag) { (void)flag; return make(event); }
int aclrtCreateEventExWithFlag(void **event, unsigned flag) { (void)flag; return make(event); }
int aclrtDestroyEvent(void *event) { return drop(event); }
int aclrtQueryEventStatus(void *event, int *status) { (void)event; *status = FINISHED; return DONE; }
int aclrtQueryEventWaitStatus(void *event, int *status) { (void)event; *status = FINISHED; return DONE; }
int aclrtEventElapsedTime(float *milliseconds, void *from, void *to) {
    (void)from; (void)to;
    *milliseconds = 0;
    return DONE;
}

/* ---- descriptions of operators, which no kernel reads */

static void *description(void) { return calloc(1, sizeof(long)); }

void *aclCreateDataBuffer(void *data, size_t size) { (void)data; (void)size; return description(); }
int aclDestroyDataBuffer(void *buffer) { return drop(buffer); }
void *aclCreateTensorDesc(int type, int dimensions, const long *sizes, int format) {
    (void)type; (void)dimensions; (void)sizes; (void)format;
    return description();
}
int aclDestroyTensorDesc(void *tensor) { return drop(tensor); }
void *aclopCreateAttr(void) { return description(); }
int aclopDestroyAttr(void *attributes) { return drop(attributes); }
