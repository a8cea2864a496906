/* The functions of onnxruntime that the engine calls, and those that onnxruntime calls in a library of operators: the
 * part of its C interface that is used here, whose members keep their places from version to version.
 *
 * Source: onnxruntime_c_api.h of onnxruntime, version 17 of the interface.
 */
#ifndef FXBIN_ONNXRUNTIME_API_H
#define FXBIN_ONNXRUNTIME_API_H

#include <stddef.h>
#include <stdint.h>

/** The version that is requested: the first with `KernelContext_ParallelFor`. */
#define ORT_VERSION 17

typedef struct OrtStatus OrtStatus; /**< null where nothing went wrong */
typedef struct OrtValue OrtValue;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtCustomOp OrtCustomOp;

enum { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };        /* OrtErrorCode */
enum { ORT_FLOAT = 1, ORT_UINT8 = 2 };                  /* ONNXTensorElementDataType */
enum { ORT_REQUIRED = 0 };                              /* OrtCustomOpInputOutputCharacteristic */

typedef void (*ort_unused)(void);

/** The table of its functions. */
typedef struct {
    OrtStatus *(*CreateStatus)(int code, const char *message);
    int (*GetErrorCode)(const OrtStatus *status);
    const char *(*GetErrorMessage)(const OrtStatus *status); /**< valid as long as the status */
    ort_unused from_3[23];
    OrtStatus *(*CreateCustomOpDomain)(const char *name, OrtCustomOpDomain **domain);
    OrtStatus *(*CustomOpDomain_Add)(OrtCustomOpDomain *domain, const OrtCustomOp *op);
    OrtStatus *(*AddCustomOpDomain)(OrtSessionOptions *options, OrtCustomOpDomain *domain);
    ort_unused from_29[22];
    OrtStatus *(*GetTensorMutableData)(OrtValue *value, void **data);
    ort_unused from_52[9];
    OrtStatus *(*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo *info, size_t *count);
    OrtStatus *(*GetDimensions)(const OrtTensorTypeAndShapeInfo *info, int64_t *sizes, size_t count);
    ort_unused from_63;
    OrtStatus *(*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo *info, size_t *count);
    OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *value, OrtTensorTypeAndShapeInfo **info);
    ort_unused from_66[20];
    OrtStatus *(*KernelInfoGetAttribute_int64)(const OrtKernelInfo *info, const char *name, int64_t *value);
    ort_unused from_87[3];
    OrtStatus *(*KernelContext_GetInput)(const OrtKernelContext *context, size_t index, const OrtValue **value);
    OrtStatus *(*KernelContext_GetOutput)(
        OrtKernelContext *context, size_t index, const int64_t *sizes, size_t count, OrtValue **value
    );
    ort_unused from_92;
    void (*ReleaseStatus)(OrtStatus *status);
    ort_unused from_94[5];
    void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo *info);
    ort_unused from_100[63];
    /** `count` is the room at `values`, then their number; too little room is an error. */
    OrtStatus *(*KernelInfoGetAttributeArray_int64)(
        const OrtKernelInfo *info, const char *name, int64_t *values, size_t *count
    );
    ort_unused from_164[80];
    /** `size` is the room at `name`, then its length with the final 0; too little room is an error. */
    OrtStatus *(*KernelInfo_GetNodeName)(const OrtKernelInfo *info, char *name, size_t *size);
    ort_unused from_245[4];
    OrtStatus *(*KernelInfoGetConstantInput_tensor)(
        const OrtKernelInfo *info, size_t index, int *is_constant, const OrtValue **value
    );
    ort_unused from_250[24];
    /** Calls ``body(data, i)`` for every i below `total` on the session's threads; with 0 `batches`, it chooses. */
    OrtStatus *(*KernelContext_ParallelFor)(
        const OrtKernelContext *context, void (*body)(void *data, size_t index), size_t total, size_t batches,
        void *data
    );
} OrtApi;

#define ORT_AT(function, place) \
    _Static_assert(offsetof(OrtApi, function) == (place) * sizeof(ort_unused), #function)

ORT_AT(GetErrorMessage, 2);
ORT_AT(AddCustomOpDomain, 28);
ORT_AT(GetTensorMutableData, 51);
ORT_AT(GetDimensions, 62);
ORT_AT(GetTensorTypeAndShape, 65);
ORT_AT(KernelInfoGetAttribute_int64, 86);
ORT_AT(KernelContext_GetOutput, 91);
ORT_AT(ReleaseStatus, 93);
ORT_AT(ReleaseTensorTypeAndShapeInfo, 99);
ORT_AT(KernelInfoGetAttributeArray_int64, 163);
ORT_AT(KernelInfo_GetNodeName, 244);
ORT_AT(KernelInfoGetConstantInput_tensor, 249);
ORT_AT(KernelContext_ParallelFor, 274);

/** The source of the table of functions. */
typedef struct {
    const OrtApi *(*GetApi)(uint32_t version); /**< null if onnxruntime is older */
    const char *(*GetVersionString)(void);
} OrtApiBase;

/** An operator. What it does not have is null. */
struct OrtCustomOp {
    uint32_t version; /**< version of the interface that this struct is made for */
    ort_unused CreateKernel;
    const char *(*GetName)(const OrtCustomOp *op);
    const char *(*GetExecutionProviderType)(const OrtCustomOp *op);
    int (*GetInputType)(const OrtCustomOp *op, size_t index);
    size_t (*GetInputTypeCount)(const OrtCustomOp *op);
    int (*GetOutputType)(const OrtCustomOp *op, size_t index);
    size_t (*GetOutputTypeCount)(const OrtCustomOp *op);
    ort_unused KernelCompute;
    void (*KernelDestroy)(void *kernel);
    int (*GetInputCharacteristic)(const OrtCustomOp *op, size_t index);
    int (*GetOutputCharacteristic)(const OrtCustomOp *op, size_t index);
    int (*GetInputMemoryType)(const OrtCustomOp *op, size_t index);
    ort_unused of_variadic_values[4];
    OrtStatus *(*CreateKernelV2)(
        const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel
    );
    OrtStatus *(*KernelComputeV2)(void *kernel, OrtKernelContext *context);
    ort_unused InferOutputShapeFn;
    int (*GetStartVersion)(const OrtCustomOp *op);
    int (*GetEndVersion)(const OrtCustomOp *op);
};

#endif
