/** What the declarations of @msgpack/msgpack take from the DOM library, which is not here. Nothing of it is published. */
type BufferSource = ArrayBufferView | ArrayBuffer;
