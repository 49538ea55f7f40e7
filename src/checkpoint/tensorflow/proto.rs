//! The few protocol buffer messages of TensorFlow checkpoints (`tensor_bundle.proto`,
//! `saved_tensor_slice.proto`, `tensor.proto`, `tensor_shape.proto`, `tensor_slice.proto`,
//! `trackable_object_graph.proto`).
//!
//! Fields that are not needed are left out; decoding skips them. Repeated messages that a hostile
//! file could multiply are taken as bytes first, and decoded one at a time.

use prost::Message;

/// Element types (`types.proto`) that are read.
pub(super) const DT_FLOAT: i32 = 1;
pub(super) const DT_DOUBLE: i32 = 2;
pub(super) const DT_STRING: i32 = 7;
pub(super) const DT_BFLOAT16: i32 = 14;
pub(super) const DT_HALF: i32 = 19;

#[derive(Clone, PartialEq, Message)]
pub(super) struct BundleHeader {
    #[prost(int32, tag = "1")]
    pub(super) num_shards: i32,
    /// 0 little, 1 big.
    #[prost(int32, tag = "2")]
    pub(super) endianness: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BundleEntry {
    #[prost(int32, tag = "1")]
    pub(super) dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<TensorShape>,
    #[prost(int32, tag = "3")]
    pub(super) shard_id: i32,
    #[prost(int64, tag = "4")]
    pub(super) offset: i64,
    #[prost(int64, tag = "5")]
    pub(super) size: i64,
    #[prost(fixed32, tag = "6")]
    pub(super) crc32c: u32,
    #[prost(message, repeated, tag = "7")]
    pub(super) slices: Vec<TensorSlice>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorShape {
    #[prost(message, repeated, tag = "2")]
    pub(super) dim: Vec<Dim>,
    #[prost(bool, tag = "3")]
    pub(super) unknown_rank: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Dim {
    #[prost(int64, tag = "1")]
    pub(super) size: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorSlice {
    #[prost(message, repeated, tag = "1")]
    pub(super) extent: Vec<Extent>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Extent {
    #[prost(int64, tag = "1")]
    pub(super) start: i64,
    /// Absent: to the end.
    #[prost(int64, optional, tag = "2")]
    pub(super) length: Option<i64>,
}

/// `SavedTensorSlices`; either of the two is set.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedTensorSlices {
    #[prost(message, optional, tag = "1")]
    pub(super) meta: Option<SavedTensorSliceMeta>,
    #[prost(message, optional, tag = "2")]
    pub(super) data: Option<SavedSlice>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedTensorSliceMeta {
    /// Messages of type [`SavedSliceMeta`].
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) tensor: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedSliceMeta {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<TensorShape>,
    #[prost(int32, tag = "3")]
    pub(super) dtype: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) slice: Vec<TensorSlice>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SavedSlice {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) slice: Option<TensorSlice>,
    #[prost(message, optional, tag = "3")]
    pub(super) data: Option<TensorProto>,
}

/// The values of a tensor: raw in `content`, or in the list of their type.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorProto {
    #[prost(bytes = "vec", tag = "4")]
    pub(super) content: Vec<u8>,
    #[prost(float, repeated, tag = "5")]
    pub(super) float_val: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    pub(super) double_val: Vec<f64>,
    /// Bits of f16 or bf16 numbers.
    #[prost(int32, repeated, tag = "13")]
    pub(super) half_val: Vec<i32>,
}

/// `TrackableObjectGraph`: the objects whose variables a checkpoint holds.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectGraph {
    /// Messages of type [`TrackableObject`].
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) nodes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackableObject {
    /// Messages of type [`SerializedTensor`].
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) attributes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SerializedTensor {
    /// The variable's name in the program.
    #[prost(string, tag = "2")]
    pub(super) full_name: String,
    /// The tensor's name in the checkpoint.
    #[prost(string, tag = "3")]
    pub(super) checkpoint_key: String,
}
