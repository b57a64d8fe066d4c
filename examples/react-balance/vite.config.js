import { defineConfig } from "vite";
import react from "@vitejs/plugin-react";

// `core dev` is the app's back end. Set CORE when it listens elsewhere.
const core = process.env.CORE ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/demo/",
  plugins: [react()],
  resolve: { dedupe: ["react", "react-dom"] },
  server: {
    proxy: {
      "/demo/token": core,
      "/demo/shop": core,
    },
  },
  build: {
    // One script, and names without hashes, because the build is committed.
    rollupOptions: {
      output: {
        inlineDynamicImports: true,
        entryFileNames: "assets/index.js",
        assetFileNames: "assets/[name][extname]",
      },
    },
    modulePreload: false,
  },
});
