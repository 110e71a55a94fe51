// Apart from the rest, because the AWS SDK takes longer to load than everything else of a host daemon that has no use for it.
export { createS3Store, type S3Store, type S3StoreOptions } from "./s3-store.ts";
